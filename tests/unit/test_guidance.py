"""What a summary should be like, on its way from the database to whoever writes it."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.unit.conftest import RealClock, Workshop
from worker import events
from worker.exceptions import SupabaseConnectionError
from worker.testing.store_memory import MemoryStore


class CountingStore(MemoryStore):
    """Counts who asks for guidance, and is away at the first questions."""

    def __init__(self, num_away: int = 0) -> None:
        super().__init__(RealClock())
        self.num_away = num_away
        self.num_asked = 0

    async def guidance(self, meeting_id: UUID, token: int) -> str | None:
        self.num_asked += 1
        if self.num_asked <= self.num_away:
            raise SupabaseConnectionError
        return await super().guidance(meeting_id, token)


async def told(workshop: Workshop, text: str | None, *, asks_guidance: bool) -> str:
    """What the summarizer of one meeting was told, where this is set."""
    path = workshop.folder / "told"
    await workshop.store.set_guidance(text)
    meeting_id = await workshop.enqueue()
    worker = workshop.worker(summarize={"guidance_to": str(path)}, asks_guidance=asks_guidance)
    assert await worker.run(once=True) == 1
    assert (await workshop.found(meeting_id)).summary is not None
    return path.read_text()


@pytest.mark.parametrize("text", ["Name every price.", None])
async def test_the_summarizer_is_told_what_the_owner_wants(workshop: Workshop, text: str | None) -> None:
    """Nothing, where nobody wants anything."""
    assert await told(workshop, text, asks_guidance=True) == (text or "")


async def test_a_database_that_is_away_then_is_waited_for(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the answer is that nothing is set, which is no reason to stop."""
    monkeypatch.setattr("worker.store_calls.FIRST_PAUSE_S", 0.01)
    workshop.store = store = CountingStore(num_away=2)
    assert await told(workshop, None, asks_guidance=True) == ""
    assert store.num_asked == 3
    away = [event for event in workshop.seen if isinstance(event, events.StoreUnavailable)]
    assert [event.call for event in away] == ["guidance"] * 2


async def test_nobody_asks_where_no_language_model_reads_it(workshop: Workshop) -> None:
    """One question less for every meeting."""
    workshop.store = store = CountingStore()
    assert await told(workshop, "Name every price.", asks_guidance=False) == ""
    assert store.num_asked == 0
