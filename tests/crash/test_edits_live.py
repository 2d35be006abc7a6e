"""People edit the table without restraint while two workers are at work on it: every moment is sound, nothing lost."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import UUID

import psycopg
import pytest

from tests.crash.conftest import Lab
from tests.support.worker_process import PATIENCE_S
from worker.models import MeetingStatus

pytestmark = [pytest.mark.crash, pytest.mark.slow]

NUM_MEETINGS = 12
NUM_EDITS = 150

HARMLESS = (
    "title = 'another'",
    "priority = 3",
    "language = 'de'",
    "created_at = now()",
    "stage = 'coffee', progress = 0.3, processed_by = 'me'",
    """warnings = '["by hand"]', result = '[]', started_at = null""",
    "user_id = gen_random_uuid()",
    "user_id = null",
    "channels = 'mixed', min_speakers = 2",
)


class Editor:
    """Somebody with a table editor and a seed."""

    def __init__(self, lab: Lab, meetings: list[UUID], seed: int) -> None:
        self._lab, self._meetings, self._random = lab, meetings, Random(seed)
        self.num_done = 0
        self.refusals: list[str] = []

    def edit(self) -> None:
        """One transaction of one to three statements, one in ten of them rolled back."""
        chance = self._random.random
        with psycopg.connect(self._lab.dsn) as connection:
            try:
                for _ in range(self._random.choice((1, 1, 1, 2, 3))):
                    connection.execute(self._statement().encode())
                self.num_done += 1
            except psycopg.errors.RaiseException as refused:
                self.refusals.append(str(refused.diag.message_primary))
                connection.rollback()
            except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
                connection.rollback()
            if chance() < 0.1:
                connection.rollback()

    def _statement(self) -> str:
        """On one meeting, or on some at once."""
        ids = ", ".join(f"'{one}'" for one in self._random.sample(self._meetings, self._random.choice((1, 1, 1, 4))))
        if self._random.random() < 0.3:
            return f"update public.meetings set {self._random.choice(HARMLESS)} where id in ({ids})"
        status = self._random.choice(list(MeetingStatus))
        return f"update public.meetings set status = '{status}' where id in ({ids})"


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_people_do_to_the_table_every_meeting_can_still_be_done(lab: Lab, seed: int) -> None:
    lab.execute("update pc_worker.settings set lease_s = 6, grace_s = 1, heartbeat_s = 0.2")
    random = Random(seed)
    meetings = [
        await lab.enqueue(
            transcribe={"seconds": random.uniform(0, 0.4)},
            align={
                "raise_code": "out_of_memory",
                "only_first": number % 2,
                "count_file": str(lab.folder / f"{number}"),
            },
            diarize={"seconds": random.uniform(0, 0.2)},
        )
        for number in range(NUM_MEETINGS)
    ]
    workers = [lab.worker(name, MAX_CONCURRENT_JOBS="2") for name in ("w1", "w2")]
    for worker in workers:
        worker.wait_for("WorkerStarted")
    editor = Editor(lab, meetings, seed)
    for _ in range(NUM_EDITS):
        await asyncio.to_thread(editor.edit)
        lab.assert_sound()
        await asyncio.sleep(random.uniform(0, 0.1))  # people take their time; nothing is waited for
    assert len(editor.refusals) > 20
    assert all(refusal.endswith(".") for refusal in editor.refusals), "each is a sentence"
    assert editor.num_done > 20
    assert all(worker.is_running for worker in workers), [worker.errors for worker in workers]
    await do_all_that_is_left(lab)
    for meeting_id in meetings:
        found = await lab.found(meeting_id)
        assert found.meeting.status is MeetingStatus.COMPLETED
        assert [segment.index for segment in found.segments] == [0, 1]
        assert lab.attempts(meeting_id)[-1][1] == "completed"
    lab.assert_sound()
    for worker in workers:
        worker.close()
    assert lab.worker("w3", once=True).wait() == 0
    assert lab.leftovers == []


async def do_all_that_is_left(lab: Lab) -> None:
    """Everything again that did not end well, now, until all of it has."""
    lab.execute("update public.meetings set user_id = null, audio_path = 'lab/' || id || '/audio.json'")
    async with asyncio.timeout(PATIENCE_S):
        while lab.rows("select 1 from public.meetings where status <> 'completed'"):
            lab.execute("update public.meetings set status = 'pending' where status in ('failed', 'cancelled')")
            lab.execute("update pc_worker.jobs set run_at = now() where state = 'pending' and run_at > now()")
            await asyncio.sleep(0.05)
