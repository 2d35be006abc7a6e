"""The words that a meeting's engine is told to expect: its own, its owner's, the lab's."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.unit.conftest import RealClock, Workshop
from worker import events
from worker.exceptions import LeaseLostError, PCWorkerException, SupabaseConnectionError
from worker.hotwords import with_vocabulary
from worker.models import Stage
from worker.testing.store_memory import MemoryStore

# --- one list of two ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hotwords", "words", "merged"),
    [
        (None, (), None),
        (" gluon;\n", (), " gluon;\n"),
        (None, ("gluon", "Ada Lovelace"), "gluon, Ada Lovelace"),
        ("", ("gluon",), "gluon"),
        (" , ", ("gluon",), "gluon"),
        ("axion, meson", ("gluon",), "axion, meson, gluon"),
        ("axion, ", ("gluon",), "axion, gluon"),
        ("axion, Meson", ("AXION", "meson"), "axion, Meson"),
        ("axion meson", ("meson", "gluon"), "axion meson, gluon"),
        ("axion\nAda Lovelace", ("ada lovelace", "Lovelace", "love"), "axion\nAda Lovelace, love"),
        ("C++", ("C", "C++"), "C++, C"),
        (None, ("Gluon", "gluon", "GLUON"), "Gluon"),
        ("STRASSE", ("Straße",), "STRASSE"),
    ],
)
def test_the_vocabulary_follows_a_meetings_own_words(
    hotwords: str | None, words: tuple[str, ...], merged: str | None
) -> None:
    """Each word once, whatever its capitals; what adds nothing changes nothing."""
    assert with_vocabulary(hotwords, words) == merged


# --- in a worker -------------------------------------------------------------------------------------------------


async def enqueue(workshop: Workshop, hotwords: str | None = None, **scripts: Any) -> None:
    """A meeting whose transcriber writes down what it is told."""
    await workshop.enqueue(hotwords=hotwords, transcribe={"hotwords_to": str(workshop.folder / "told")}, **scripts)


def told(workshop: Workshop) -> str:
    return (workshop.folder / "told").read_text()


async def test_the_engine_is_told_the_meetings_words_and_the_vocabulary(workshop: Workshop) -> None:
    """The meeting's own first, because an engine keeps only so many."""
    await workshop.store.add_words(["gluon", "axion"])
    await enqueue(workshop, "Axion, meson")
    assert await workshop.worker().run(once=True) == 1
    assert told(workshop) == "Axion, meson, gluon"


async def test_a_meeting_without_words_of_its_own_gets_the_vocabulary(workshop: Workshop) -> None:
    """Nobody has to remember to write them down."""
    await workshop.store.add_words(["gluon", "axion"])
    await enqueue(workshop)
    assert await workshop.worker().run(once=True) == 1
    assert told(workshop) == "gluon, axion"


@pytest.mark.parametrize(("added_meanwhile", "is_reused"), [("", True), ("axion", False)])
async def test_a_kept_transcript_is_used_again_only_with_the_same_words(
    workshop: Workshop, added_meanwhile: str, *, is_reused: bool
) -> None:
    """After a failure in a later stage; a word that was added between the attempts counts."""
    await workshop.store.add_words(["gluon"])
    failing = {"raise_code": "engine_failed", "only_first": 1, "count_file": str(workshop.folder / "count")}
    await enqueue(workshop, align=failing)
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    await workshop.store.add_words([added_meanwhile] if added_meanwhile else [])
    for job in workshop.store.queue.pending():
        job.run_at = workshop.store.queue.now()
    assert await running == 1
    finished = [e for e in workshop.seen if isinstance(e, events.StageFinished) and e.stage is Stage.TRANSCRIBE]
    assert [event.reused for event in finished] == [False, is_reused]
    assert told(workshop) == ("gluon" if is_reused else "gluon, axion")


class StumblingStore(MemoryStore):
    """Meets each error once before it answers about the vocabulary."""

    def __init__(self, *errors: PCWorkerException) -> None:
        super().__init__(RealClock())
        self.errors = [*errors]

    async def vocabulary(self, meeting_id: UUID, token: int) -> tuple[str, ...]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().vocabulary(meeting_id, token)


async def test_a_database_that_is_away_when_the_words_are_asked_for_is_waited_for(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for every other call: a transcript without the lab's names would have to be done again."""
    monkeypatch.setattr("worker.store_calls.FIRST_PAUSE_S", 0.01)
    workshop.store = StumblingStore(SupabaseConnectionError(), SupabaseConnectionError())
    await workshop.store.add_words(["gluon"])
    await enqueue(workshop)
    assert await workshop.worker().run(once=True) == 1
    assert told(workshop) == "gluon"
    away = [event for event in workshop.seen if isinstance(event, events.StoreUnavailable)]
    assert [event.call for event in away] == ["vocabulary"] * 2


async def test_a_meeting_that_is_lost_when_the_words_are_asked_for_is_dropped(workshop: Workshop) -> None:
    """Nothing is computed for it, and nothing is written."""
    workshop.store = StumblingStore(LeaseLostError())
    await enqueue(workshop, "meson")
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingDropped, outcome="lease_lost")
    worker.request_stop()
    assert await running == 0
    assert not [event for event in workshop.seen if isinstance(event, events.StageStarted)]
