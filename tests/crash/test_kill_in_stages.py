"""SIGKILL in the middle of a stage: while a child computes, a recording is fetched, or the database answers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from tests.crash.conftest import Lab
from tests.support.children import is_running, wait_until
from tests.support.held_locks import MEETINGS, PEOPLE, HeldLock, held
from tests.support.worker_process import WorkerProcess
from worker.voiceprints import THRESHOLDS

pytestmark = pytest.mark.crash

CHILD_STAGES = ("decode", "transcribe", "align", "diarize", "summarize")
COMPARABLE = {"label": "SPEAKER_00", "model": next(iter(THRESHOLDS)), "dim": 2, "vector": [0.6, 0.8], "speech_s": 20.0}
"""A voice that is held against the people whom the owner knows."""


def summaries_wait(lab: Lab) -> list[str]:
    """Flags of a worker whose summaries wait for `go`: no recording tells the summarizer what to do."""
    return ["--summarize=" + json.dumps({"until": str(lab.folder / "go")})]


def children_of(worker: WorkerProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]


async def begun(worker: WorkerProcess, meeting_id: UUID, stage: str) -> None:
    """The stage's child is at work."""
    event = "StageProgressed"
    await asyncio.to_thread(worker.wait_for, event, meeting_id=str(meeting_id), stage=stage)


def reused_by(worker: WorkerProcess) -> list[str]:
    return [told["stage"] for told in worker.seen if told["event"] == "StageFinished" and told["reused"]]


async def finished_by(lab: Lab, worker: WorkerProcess, *meetings: UUID) -> None:
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    for meeting_id in meetings:
        await lab.assert_done_once(meeting_id)


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=() if stage == "align" else pytest.mark.slow) for stage in CHILD_STAGES]
)
@pytest.mark.proves("worker killed (SIGKILL) at any stage")
async def test_a_worker_killed_while_a_child_computes_takes_it_along_and_goes_on_from_there(
    lab: Lab, stage: str
) -> None:
    go = lab.folder / "go"
    meeting_id = await lab.enqueue("meeting", **{stage: {"until": str(go)}})
    flags = summaries_wait(lab) if stage == "summarize" else []
    worker = lab.worker("w1", flags=flags)
    await begun(worker, meeting_id, stage)
    children = children_of(worker)
    worker.kill()
    assert children
    assert wait_until(lambda: not any(map(is_running, children)))

    go.touch()
    again = lab.worker("w1", once=True, flags=flags)
    await finished_by(lab, again, meeting_id)
    assert reused_by(again) == list(CHILD_STAGES[: CHILD_STAGES.index(stage)])
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "completed")]


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Where the temp folder is on another file system than the recordings, these are copied block by block."""
    with TemporaryDirectory(dir="/dev/shm", prefix="pcw-") as folder:
        assert Path(folder).stat().st_dev != tmp_path.stat().st_dev
        yield Path(folder)


@pytest.mark.slow
async def test_a_worker_killed_while_it_fetches_begins_anew_and_leaves_no_part(lab: Lab, other_disk: Path) -> None:
    meeting_id = await lab.enqueue()
    recording = next((lab.folder / "recordings").rglob("audio.json"))
    recording.write_text(json.dumps({}) + " " * 2**26)
    killed = lab.worker("w1", flags=["--signal-at=SIGKILL@StageProgressed:fetch"], AUDIO_TEMP_DIR=str(other_disk))
    assert killed.wait() == -signal.SIGKILL
    parts = [path for path in other_disk.rglob("*.part") if path.stat().st_size < recording.stat().st_size]
    assert parts, "it was killed in the middle of the copy"

    again = lab.worker("w1", once=True, AUDIO_TEMP_DIR=str(other_disk))
    await finished_by(lab, again, meeting_id)
    assert reused_by(again) == []
    assert list(other_disk.iterdir()) == []


@pytest.mark.slow
async def test_a_worker_killed_while_it_asks_for_the_people_goes_on_from_the_voices(lab: Lab) -> None:
    meeting_id = await lab.enqueue(diarize={"voices": [COMPARABLE]})
    async with held(lab.dsn, PEOPLE) as lock:
        worker = lab.worker("w1")
        await lock.wait_for("worker_speakers_v2")
        worker.kill()
    again = lab.worker("w1", once=True)
    await finished_by(lab, again, meeting_id)
    assert reused_by(again) == ["decode", "transcribe", "align", "diarize"]
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "completed")]


# --- the result is on disk -------------------------------------------------------------------------------------------


@asynccontextmanager
async def committing(
    lab: Lab, meeting_id: UUID, **variables: str
) -> AsyncIterator[tuple[WorkerProcess, HeldLock, int]]:
    """A worker whose `complete` waits for our lock, and the server process that it waits in."""
    worker = lab.worker("w1", once=False, flags=summaries_wait(lab), **variables)
    await begun(worker, meeting_id, "summarize")  # claimed, before the meeting is locked
    async with held(lab.dsn, MEETINGS) as lock:
        (lab.folder / "go").touch()
        yield worker, lock, await lock.wait_for("worker_complete_v2")


def nothing_computed_by(worker: WorkerProcess) -> bool:
    return not any(told["event"].startswith("Stage") for told in worker.seen)


@pytest.mark.proves("killed after compute, before commit")
async def test_a_result_whose_commit_was_undone_by_the_kill_is_handed_over_at_the_start(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    async with committing(lab, meeting_id) as (worker, lock, server):
        worker.kill()
        await lock.end_the_call(server)
    again = lab.worker("w1", once=True)
    await finished_by(lab, again, meeting_id)
    assert (again.seen[0]["event"], again.seen[0]["outcome"]) == ("ResultReplayed", "completed")
    assert nothing_computed_by(again)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.proves("claim or complete response lost")
async def test_a_commit_whose_answer_nobody_lived_to_hear_is_not_done_again(lab: Lab) -> None:
    """The transaction goes on without its client; the folder that is still there says `already_done`."""
    meeting_id = await lab.enqueue()
    async with committing(lab, meeting_id) as (worker, lock, _):
        worker.kill()
        await lock.release()
        assert lab.leftovers == [str(meeting_id)]
        again = lab.worker("w1", once=True)
        await finished_by(lab, again, meeting_id)
    assert (again.seen[0]["event"], again.seen[0]["outcome"]) == ("ResultReplayed", "already_done")
    assert nothing_computed_by(again)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.slow
async def test_a_worker_killed_while_it_hands_over_at_the_start_hands_over_at_the_next(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    async with committing(lab, meeting_id) as (worker, lock, server):
        for _ in range(2):
            worker.kill()
            await lock.end_the_call(server)
            worker = lab.worker("w1")
            server = await lock.wait_for("worker_complete_v2")
        worker.kill()
        await lock.end_the_call(server)
    last = lab.worker("w1", once=True)
    await finished_by(lab, last, meeting_id)
    assert nothing_computed_by(last)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.slow
async def test_a_finished_result_is_taken_though_its_recording_was_called_poison_meanwhile(lab: Lab) -> None:
    """Two kills, the second after the work was done: the dead PC comes back with the result after all."""
    meeting_id = await lab.enqueue()
    killed = lab.worker("w1", flags=["--signal-at=SIGKILL@StageStarted:diarize"])
    assert killed.wait() == -signal.SIGKILL
    async with committing(lab, meeting_id) as (worker, lock, server):
        worker.kill()
        await lock.end_the_call(server)
    lab.execute("update pc_worker.jobs set lease_expires_at = now() - interval '1 hour'")
    other = lab.worker("w2", once=True, AUDIO_TEMP_DIR=str(lab.folder / "temp of w2"))
    assert other.wait() == 0, other.errors
    assert (await lab.found(meeting_id)).meeting.error_code == "poison"

    back = lab.worker("w1", once=True)
    await finished_by(lab, back, meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "completed")]


@pytest.mark.slow
async def test_a_result_that_another_pc_was_faster_with_is_dropped_when_the_dead_one_comes_back(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    dead_temp = lab.folder / "temp of w1"
    async with committing(lab, meeting_id, AUDIO_TEMP_DIR=str(dead_temp)) as (worker, lock, server):
        worker.kill()
        await lock.end_the_call(server)
    lab.execute("update pc_worker.jobs set lease_expires_at = now() - interval '1 hour'")
    other = lab.worker("w2", once=True)
    await finished_by(lab, other, meeting_id)
    assert list(dead_temp.iterdir())

    back = lab.worker("w1", once=True, AUDIO_TEMP_DIR=str(dead_temp))
    await finished_by(lab, back, meeting_id)
    assert back.seen[0]["outcome"] == "lost"
    assert list(dead_temp.iterdir()) == []
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w2", "completed")]


# --- several meetings ------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_worker_killed_with_two_meetings_in_different_stages_loses_neither(lab: Lab) -> None:
    go = lab.folder / "go"
    first = await lab.enqueue("first", transcribe={"until": str(go)})
    worker = lab.worker("w1", MAX_CONCURRENT_JOBS="2")
    await begun(worker, first, "transcribe")
    second = await lab.enqueue("second", decode={"until": str(go)})
    lab.execute("update pc_worker.jobs set run_at = now() - interval '2 minutes' where state = 'pending'")
    await begun(worker, second, "decode")
    worker.kill()

    go.touch()
    again = lab.worker("w1", once=True, MAX_CONCURRENT_JOBS="2")
    await finished_by(lab, again, first, second)
    assert again.seen[0]["num_taken_over"] == 2
    assert reused_by(again) == ["decode"]
    for meeting_id in (first, second):
        assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "completed")]
