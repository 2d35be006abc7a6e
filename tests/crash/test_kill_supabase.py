"""SIGKILL of a lab PC where it matters: around its claim and its commit, through the real PostgREST."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.audio_files import speech, write_sound
from tests.support.held_locks import MEETINGS, held
from tests.support.queue_invariants import BROKEN
from tests.support.supabase_fleet import Fleet, supabase_fleet
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.fixture
def fleet(crash_server_dsn: str, tmp_path: Path) -> Iterator[Fleet]:
    with supabase_fleet(crash_server_dsn, tmp_path) as fleet:
        yield fleet


def enqueued(fleet: Fleet) -> UUID:
    return fleet.enqueue_as(None, write_sound(fleet.folder / "recording.wav", speech(1.0)))


async def assert_done_once(fleet: Fleet, worker: WorkerProcess, *history: str) -> None:
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert fleet.rows("select status from public.meetings") == [("completed",)]
    assert fleet.rows("select outcome from pc_worker.job_attempts order by token") == [(each,) for each in history]
    assert fleet.rows("select segment_index from public.transcript_segments order by 1") == [(0,), (1,)]
    assert fleet.rows("select count(*) from public.meeting_summaries") == [(1,)]
    assert fleet.rows(BROKEN) == []
    assert list(fleet.temp("pc").iterdir()) == []


@pytest.mark.parametrize("moment", ["MeetingClaimed", "StageFinished:fetch", "StageStarted:commit"])
async def test_a_killed_lab_pc_takes_its_meeting_up_again(fleet: Fleet, moment: str) -> None:
    enqueued(fleet)
    killed = fleet.worker("pc", f"--signal-at=SIGKILL@{moment}")
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL, killed.errors
    await assert_done_once(fleet, fleet.worker("pc", "--once"), "reaped", "completed")


@pytest.mark.parametrize("is_undone", [True, False], ids=["undone", "done unheard"])
@pytest.mark.proves("killed after compute, before commit", "claim or complete response lost")
async def test_a_commit_in_which_a_lab_pc_was_killed_is_there_once(fleet: Fleet, is_undone: bool) -> None:
    enqueued(fleet)
    go = fleet.folder / "go"
    killed = fleet.worker("pc", "--summarize=" + json.dumps({"until": str(go)}))
    await asyncio.to_thread(killed.wait_for, "StageProgressed", stage="summarize")
    async with held(fleet.stack.dsn, MEETINGS) as lock:
        go.touch()
        server = await lock.wait_for("worker_complete_v2")
        killed.kill()
        if is_undone:
            await lock.end_the_call(server)
    again = fleet.worker("pc", "--once")
    await assert_done_once(fleet, again, "completed")
    replayed = [told["outcome"] for told in again.seen if told["event"] == "ResultReplayed"]
    assert replayed == ["completed" if is_undone else "already_done"]
