"""A PC that is suspended in the middle of a meeting and wakes up: as a whole, its children too."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from tests.crash.conftest import Lab
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.crash


class Suspended:
    """A worker and all its children, stopped until `wake`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._pids = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)


@pytest.fixture
def short_leases(lab: Lab) -> None:
    lab.execute("update pc_worker.settings set lease_s = 1.2, grace_s = 0.2, heartbeat_s = 0.2")


@pytest.mark.slow
@pytest.mark.usefixtures("short_leases")
async def test_a_pc_that_slept_longer_than_its_lease_goes_on_when_nobody_took_its_meeting(lab: Lab) -> None:
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    suspended = Suspended(worker)
    await asyncio.sleep(4.0)  # more than three leases: time itself is what is tested
    go.touch()
    suspended.wake()
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert len(lab.attempts(meeting_id)) == 1


@pytest.mark.proves("longer, re-claimed")
@pytest.mark.usefixtures("short_leases")
async def test_a_pc_that_wakes_up_to_find_its_meeting_taken_lets_go_of_it(lab: Lab) -> None:
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    sleeper = lab.worker("w1")
    sleeper.wait_for("StageStarted", stage="transcribe")
    suspended = Suspended(sleeper)
    other = lab.worker("w2", AUDIO_TEMP_DIR=str(lab.folder / "elsewhere"))
    other.wait_for("StageStarted", stage="transcribe")
    suspended.wake()
    assert sleeper.wait_for("MeetingDropped")["outcome"] == "lost"
    go.touch()
    other.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w2", "completed")]
