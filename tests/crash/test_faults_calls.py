"""A real worker on a line that spoils its calls: each meeting is done once, by one attempt."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.fault_proxy_faults import Answered, Fault, LostAnswer, Reset, Truncated
from tests.support.spoiled_line import LineLab, line_lab
from tests.support.worker_process import WorkerProcess
from worker.adapters.store_postgres import NUM_TRIES
from worker.models import MeetingStatus
from worker.voiceprints import THRESHOLDS

pytestmark = pytest.mark.crash

BY_EACH_WAY = pytest.mark.parametrize("transport", ["postgres", "supabase"])
ON_POSTGRES = pytest.mark.parametrize("transport", ["postgres", pytest.param("supabase", marks=pytest.mark.slow)])
SPOILED: list[Fault] = [LostAnswer(), Reset(), Truncated(), Answered(502)]

COMPARABLE = {
    "label": "SPEAKER_00",
    "model": next(iter(THRESHOLDS)),
    "dim": 2,
    "vector": [0.6, 0.8],
    "speech_s": 20.0,
}
"""A voice that is looked for among those whom the owner knows."""


@pytest.fixture
async def lab(transport: str, crash_server_dsn: str, tmp_path: Path) -> AsyncIterator[LineLab]:
    async with line_lab(transport, crash_server_dsn, tmp_path) as lab:
        yield lab


def faults_of(lab: LineLab) -> list[Fault]:
    return [fault for fault in SPOILED if lab.transport == "supabase" or not isinstance(fault, Answered)]


async def leave(lab: LineLab, worker: WorkerProcess) -> None:
    worker.signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors


# --- each call, as often as the store tries it, so that the worker itself has to repeat it ------------------------


@pytest.mark.proves("claim or complete response lost")
@ON_POSTGRES
async def test_lost_answers_to_claim_and_complete_cost_no_attempt(lab: LineLab) -> None:
    """The same job and token; the result is there already, though a heartbeat meanwhile called the meeting lost."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.2")
    meeting_id = await lab.enqueue()
    claims = lab.proxy.arm(LostAnswer(), "worker_claim_v1", times=NUM_TRIES)
    writes = lab.proxy.arm(LostAnswer(), "worker_complete_v2", times=None)
    worker = lab.worker("w1", once=True)
    worker.wait_for("StoreUnavailable", call="claim")
    worker.wait_for("StoreUnavailable", call="complete")
    for _ in range(2):  # the second one was surely sent after the result was written
        worker.wait_for("QueueSeen")
    writes.disarm()
    assert worker.wait_for("MeetingCompleted")["outcome"] == "already_done"
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert claims.num_met == NUM_TRIES
    assert writes.num_met >= NUM_TRIES
    assert [told["attempt"] for told in worker.seen if told["event"] == "MeetingClaimed"] == [1]
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@BY_EACH_WAY
async def test_a_claim_under_each_fault(lab: LineLab) -> None:
    """Until the database has given the meeting away, where it hears of the claim; the repeat has the same claim id."""
    worker, done = lab.worker("w1"), []
    worker.wait_for("WorkerStarted")
    for fault in faults_of(lab):
        armed = lab.proxy.arm(fault, "worker_claim_v1", times=None)
        armed.wait_until_met()  # no claim is on its way that met nothing
        done.append(await lab.enqueue())
        if fault.is_executed:
            await lab.until(f"select from pc_worker.job_attempts where meeting_id = '{done[-1]}'")
        worker.wait_for("StoreUnavailable", call="claim")
        armed.disarm()
        worker.wait_for("MeetingCompleted", meeting_id=str(done[-1]))
        assert lab.attempts(done[-1]) == [("w1", "completed")], fault
    await leave(lab, worker)
    for meeting_id in done:
        await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["vocabulary", "speakers", "complete"])
@BY_EACH_WAY
async def test_what_a_meeting_needs_is_asked_for_until_it_comes(lab: LineLab, call: str) -> None:
    """The stage waits; nothing fails and nothing is begun anew."""
    worker, done = lab.worker("w1"), []
    for fault in faults_of(lab):
        armed = lab.proxy.arm(fault, f"worker_{call}_v", times=NUM_TRIES)
        done.append(await lab.enqueue(diarize={"voices": [COMPARABLE]}))
        worker.wait_for("StoreUnavailable", call=call)
        worker.wait_for("MeetingCompleted", meeting_id=str(done[-1]))
        assert armed.num_met == NUM_TRIES
        assert lab.attempts(done[-1]) == [("w1", "completed")], fault
    await leave(lab, worker)
    for meeting_id in done:
        await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@BY_EACH_WAY
async def test_a_heartbeat_under_each_fault(lab: LineLab) -> None:
    """It is told, and recovers; the meeting goes on meanwhile."""
    lab.hurry(lease_s=60 if lab.transport == "supabase" else 30)
    lab.execute("update pc_worker.settings set heartbeat_s = 0.2")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    for fault in faults_of(lab):
        armed = lab.proxy.arm(fault, "worker_heartbeat_v", times=NUM_TRIES)
        worker.wait_for("StoreUnavailable", call="heartbeat")
        worker.wait_for("StoreRecovered", call="heartbeat")
        assert armed.num_met == NUM_TRIES
    go.touch()
    worker.wait_for("MeetingCompleted")
    await leave(lab, worker)
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@BY_EACH_WAY
async def test_a_failure_is_counted_once_and_the_next_attempt_goes_on(lab: LineLab) -> None:
    """Whatever happens to the word about it, and whatever a heartbeat makes of the meeting meanwhile."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.2")
    worker = lab.worker("w1")
    for number, fault in enumerate(faults_of(lab)):
        armed = lab.proxy.arm(fault, "worker_fail_v", times=None)
        script = {"raise_code": "engine_failed", "only_first": 1, "count_file": str(lab.folder / f"count {number}")}
        meeting_id = await lab.enqueue(transcribe=script)
        worker.wait_for("StoreUnavailable", call="fail")
        for _ in range(2):
            worker.wait_for("QueueSeen")
        armed.disarm()
        worker.wait_for("MeetingFailed", meeting_id=str(meeting_id), code="engine_failed")
        assert lab.rows("select num_failures from pc_worker.jobs where state = 'pending'") == [(1,)], fault
        lab.execute("update pc_worker.jobs set run_at = now()")
        worker.wait_for("StageFinished", meeting_id=str(meeting_id), stage="decode", reused=True)
        worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))
        assert lab.attempts(meeting_id) == [("w1", "failure"), ("w1", "completed")], fault
    await leave(lab, worker)
    lab.assert_sound()


@pytest.mark.slow
@BY_EACH_WAY
async def test_a_meeting_is_given_back_once(lab: LineLab) -> None:
    """By a worker that must leave: it has no time for more than the tries of one call."""
    for fault in faults_of(lab):
        meeting_id = await lab.enqueue(transcribe={"until": "/nonexistent"})
        worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="0.1")
        worker.wait_for("StageStarted", stage="transcribe")
        armed = lab.proxy.arm(fault, "worker_release_v", times=NUM_TRIES - 1)
        await leave(lab, worker)
        assert armed.num_met == NUM_TRIES - 1
        assert lab.attempts(meeting_id) == [("w1", "released")], fault
        assert await lab.status(meeting_id) is MeetingStatus.PENDING
        assert lab.rows("select num_attempts from pc_worker.jobs where state = 'pending'") == [(0,)]
        await lab.store.cancel(meeting_id)


@pytest.mark.slow
@BY_EACH_WAY
async def test_a_worker_registers_through_each_fault(lab: LineLab) -> None:
    """And takes over what its last run left, once."""
    for fault in (LostAnswer(), Reset()):
        meeting_id = await left_behind(lab)
        lab.proxy.arm(fault, "worker_register_v", times=NUM_TRIES)
        worker = lab.worker("w1")
        worker.wait_for("StoreUnavailable", call="register")
        worker.wait_for("MeetingCompleted")
        await leave(lab, worker)
        await lab.assert_done_once(meeting_id)
        assert len(lab.attempts(meeting_id)) == 2, fault


async def left_behind(lab: LineLab) -> UUID:
    """A meeting of a worker that was killed while it transcribed."""
    once = {"only_first": 1, "count_file": str(lab.folder / "count"), "hang": True}
    (lab.folder / "count").unlink(missing_ok=True)
    meeting_id = await lab.enqueue(transcribe=once)
    worker = lab.worker("w1")
    worker.wait_for("StageProgressed", stage="transcribe")
    worker.kill()
    return meeting_id
