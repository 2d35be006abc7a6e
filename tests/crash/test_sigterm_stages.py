"""SIGTERM at every moment: what fits the grace is finished, the rest is given back with its finished stages kept."""

from __future__ import annotations

import asyncio
import json
import signal
from uuid import UUID

import pytest

from tests.crash.conftest import Lab
from tests.support.children import is_running, wait_until
from tests.support.held_locks import MEETINGS, PEOPLE, WORKERS, held
from tests.support.worker_process import WorkerProcess
from worker.models import MeetingStatus, Stage
from worker.voiceprints import THRESHOLDS

pytestmark = pytest.mark.crash

STAGES = tuple(stage for stage in Stage if stage is not Stage.WAITING_FOR_AUDIO)
CHILD_STAGES = ("decode", "transcribe", "align", "diarize", "summarize")
COMPARABLE = {"label": "SPEAKER_00", "model": next(iter(THRESHOLDS)), "dim": 2, "vector": [0.6, 0.8], "speech_s": 20.0}


def but(telling: str, names: tuple[str, ...]) -> list[object]:
    """All of them, of which only one is for `make test`."""
    return [pytest.param(name, marks=() if name == telling else pytest.mark.slow) for name in names]


async def enqueued(lab: Lab, waits_in: str) -> UUID:
    go = str(lab.folder / "go")
    return await lab.enqueue("meeting", **({waits_in: {"until": go}} if waits_in != "summarize" else {}))


def waiting_worker(lab: Lab, waits_in: str, *, once: bool = False, grace_s: str = "3600") -> WorkerProcess:
    """Its child waits for `go` in that stage."""
    summarize = "--summarize=" + json.dumps({"until": str(lab.folder / "go")})
    flags = [summarize] if waits_in == "summarize" else []
    return lab.worker("w1", once=once, flags=flags, SHUTDOWN_GRACE_SECONDS=grace_s)


async def at_work(worker: WorkerProcess, stage: str) -> None:
    await asyncio.to_thread(worker.wait_for, "StageProgressed", stage=stage)


async def ended(worker: WorkerProcess) -> None:
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors


async def assert_given_back(lab: Lab, meeting_id: UUID) -> None:
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    assert lab.attempts(meeting_id) == [("w1", "released")]
    assert lab.rows("select num_attempts, num_crashes, num_failures from pc_worker.jobs") == [(0, 0, 0)]
    lab.assert_sound()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["MeetingClaimed", *(f"StageStarted:{stage}" for stage in STAGES)])
@pytest.mark.proves("SIGTERM")
async def test_a_meeting_that_fits_the_grace_is_finished_wherever_it_is(lab: Lab, moment: str) -> None:
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=[f"--signal-at=SIGTERM@{moment}"])
    await ended(worker)
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.parametrize("stage", but("diarize", CHILD_STAGES))
@pytest.mark.proves("SIGTERM")
async def test_a_meeting_that_does_not_fit_is_given_back_and_goes_on_from_there(lab: Lab, stage: str) -> None:
    meeting_id = await enqueued(lab, stage)
    worker = waiting_worker(lab, stage, grace_s="0.1")
    await at_work(worker, stage)
    worker.signal(signal.SIGTERM)
    await ended(worker)
    await assert_given_back(lab, meeting_id)

    (lab.folder / "go").touch()
    again = waiting_worker(lab, stage, once=True)
    await ended(again)
    await lab.assert_done_once(meeting_id)
    reused = [told["stage"] for told in again.seen if told["event"] == "StageFinished" and told["reused"]]
    assert reused == list(CHILD_STAGES[: CHILD_STAGES.index(stage)])
    assert lab.rows("select num_attempts from pc_worker.jobs") == [(1,)]


@pytest.mark.parametrize("stage", but("align", CHILD_STAGES))
@pytest.mark.proves("second SIGTERM")
async def test_a_second_sigterm_gives_back_at_once_whatever_the_stage(lab: Lab, stage: str) -> None:
    meeting_id = await enqueued(lab, stage)
    worker = waiting_worker(lab, stage)
    await at_work(worker, stage)
    worker.signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "DrainStarted")
    worker.signal(signal.SIGTERM)
    await ended(worker)
    await assert_given_back(lab, meeting_id)


@pytest.mark.slow
async def test_who_waits_for_the_people_can_be_hurried(lab: Lab) -> None:
    meeting_id = await lab.enqueue(diarize={"voices": [COMPARABLE]})
    async with held(lab.dsn, PEOPLE) as lock:
        worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="3600")
        await lock.wait_for("worker_speakers_v2")
        worker.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait_for, "DrainStarted")
        worker.signal(signal.SIGTERM)
        await ended(worker)
    await assert_given_back(lab, meeting_id)


@pytest.mark.slow
@pytest.mark.parametrize("num_signals", [1, 2])
async def test_a_result_that_is_on_its_way_is_not_given_back(lab: Lab, num_signals: int) -> None:
    """Whatever the grace: the call is bounded by its own timeouts, and its answer is worth waiting for."""
    meeting_id = await enqueued(lab, "summarize")
    worker = waiting_worker(lab, "summarize", grace_s="0.1" if num_signals == 1 else "3600")
    await at_work(worker, "summarize")
    async with held(lab.dsn, MEETINGS) as lock:
        (lab.folder / "go").touch()
        await lock.wait_for("worker_complete_v2")
        worker.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait_for, "DrainStarted")
        if num_signals == 2:
            worker.signal(signal.SIGTERM)
    await ended(worker)
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.slow
async def test_sigterm_while_a_result_is_handed_over_at_the_start(lab: Lab) -> None:
    """The call that is on its way is waited for; nothing is begun any more."""
    meeting_id = await enqueued(lab, "summarize")
    killed = waiting_worker(lab, "summarize")
    await at_work(killed, "summarize")
    async with held(lab.dsn, MEETINGS) as lock:
        (lab.folder / "go").touch()
        server = await lock.wait_for("worker_complete_v2")
        killed.kill()
        await lock.end_the_call(server)
        again = lab.worker("w1")
        await lock.wait_for("worker_complete_v2")
        waiting = await lab.enqueue("waiting")
        again.signal(signal.SIGTERM)
    await ended(again)
    assert [told["event"] for told in again.seen if told["event"].startswith("Meeting")] == []
    assert await lab.status(waiting) is MeetingStatus.PENDING
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
async def test_sigterm_while_it_registers(lab: Lab) -> None:
    await ended(lab.worker("w1", once=True))  # known, so that there is a row to wait for
    meeting_id = await lab.enqueue()
    async with held(lab.dsn, WORKERS) as lock:
        worker = lab.worker("w1")
        await lock.wait_for("worker_register_v1")
        worker.signal(signal.SIGTERM)
    await ended(worker)
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    assert lab.attempts(meeting_id) == []


@pytest.mark.slow
@pytest.mark.proves("SIGTERM")
async def test_a_meeting_that_is_claimed_a_moment_too_late_is_given_back_unbegun(lab: Lab) -> None:
    """It may take hours, and another PC may be idle."""
    worker = lab.worker("w1")
    await asyncio.to_thread(worker.wait_for, "QueueSeen")
    async with held(lab.dsn, WORKERS) as lock:
        await lock.wait_for("worker_claim_v1")
        worker.signal(signal.SIGTERM)
        meeting_id = await lab.enqueue()
        lab.execute("update pc_worker.jobs set run_at = now() - interval '1 hour'")  # due when the call was made
    await ended(worker)
    assert [told["event"] for told in worker.seen if told["event"].startswith(("Stage", "Meeting"))] == [
        "MeetingClaimed",
        "MeetingReleased",
    ]
    await assert_given_back(lab, meeting_id)


@pytest.mark.slow
async def test_sigterm_at_the_first_moment_begins_nothing(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=["--signal-at=SIGTERM@WorkerStarted"])
    await ended(worker)
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    assert {outcome for _, outcome in lab.attempts(meeting_id)} <= {"released"}


@pytest.mark.slow
async def test_sigterm_while_there_is_nothing_to_do(lab: Lab) -> None:
    worker = lab.worker("w1", POLLING_INTERVAL_SECONDS="600")
    await asyncio.to_thread(worker.wait_for, "QueueSeen")
    worker.signal(signal.SIGTERM)
    await ended(worker)
    assert worker.seen[-1]["event"] == "WorkerStopped"


@pytest.mark.slow
async def test_sigterm_and_then_sigkill_is_a_kill_like_any_other(lab: Lab) -> None:
    """As systemd does when TimeoutStopSec is over."""
    meeting_id = await enqueued(lab, "transcribe")
    worker = waiting_worker(lab, "transcribe")
    await at_work(worker, "transcribe")
    worker.signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "DrainStarted")
    worker.kill()

    (lab.folder / "go").touch()
    again = lab.worker("w1", once=True)
    await ended(again)
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "completed")]


@pytest.mark.slow
@pytest.mark.parametrize("num_signals", [1, 2])
async def test_sigterm_while_a_result_cannot_be_sent_leaves_it_to_the_next_start(lab: Lab, num_signals: int) -> None:
    meeting_id = await lab.enqueue()
    signature = lab.rows("select p.oid::regprocedure::text from pg_proc p where proname = 'worker_complete_v2'")[0][0]
    lab.execute(f"alter function {signature} rename to worker_complete_away")
    worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="0.1" if num_signals == 1 else "3600")
    await asyncio.to_thread(worker.wait_for, "StoreUnavailable", call="complete")
    worker.signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "DrainStarted")
    if num_signals == 2:
        worker.signal(signal.SIGTERM)
    await ended(worker)
    assert lab.attempts(meeting_id) == [("w1", None)]

    lab.execute(f"alter function {signature.replace('_v2', '_away')} rename to worker_complete_v2")
    again = lab.worker("w1", once=True)
    await ended(again)
    assert [told for told in again.seen if told["event"].startswith("Stage")] == []
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.slow
async def test_no_child_outlives_a_worker_that_was_told_to_stop(lab: Lab) -> None:
    """Not even one that never says anything again."""
    pid_file = lab.folder / "grandchild"
    await lab.enqueue(transcribe={"grandchild": str(pid_file), "hang": True})
    worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="0.1")
    await at_work(worker, "transcribe")
    worker.signal(signal.SIGTERM)
    await ended(worker)
    assert wait_until(lambda: not is_running(int(pid_file.read_text())))
