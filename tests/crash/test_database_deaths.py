"""The database dies during a call, whichever call that is: the call is made again, and counts once."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.crash.conftest import Lab
from tests.support.mortal_postgres import AFTER, BEFORE, CallGates, Death, MortalPostgres
from tests.support.scripted_llm import ScriptedLlm, honest, thinks
from tests.support.worker_process import WorkerProcess
from worker.models import MeetingStatus
from worker.voiceprints import THRESHOLDS

pytestmark = pytest.mark.crash

AT_THE_START = ("worker_register_v1", "worker_claim_v1", "worker_vocabulary_v1", "worker_guidance_v1")
WHILE_IT_COMPUTES = "worker_heartbeat_v2"
AT_THE_END = ("worker_speakers_v2", "worker_complete_v2")
ALL = (*AT_THE_START, WHILE_IT_COMPUTES, *AT_THE_END)

ORDINARY = [(Death.BACKEND, AFTER)]
SLOW = [
    pytest.param(death, moment, marks=pytest.mark.slow)
    for death in Death
    for moment in (BEFORE, AFTER)
    if (death, moment) not in ORDINARY
]

VOICES = [
    {"label": f"SPEAKER_0{number}", "model": next(iter(THRESHOLDS)), "dim": 2, "vector": vector, "speech_s": 20.0}
    for number, vector in enumerate(([0.6, 0.8], [-0.8, 0.6]))
]
"""Such as are compared with those of people who are known, so that the database is asked for these."""

SOME = [(Death.SERVER, AFTER), (Death.BACKEND, BEFORE), (Death.CONNECTION, AFTER)]


class Calls:
    """The calls of a worker, and what kills them."""

    def __init__(self, lab: Lab, server: MortalPostgres, death: Death, moment: str, functions: tuple[str, ...]) -> None:
        self._server, self._death, self._moment = server, death, moment
        self._gates = CallGates(lab.dsn, *functions)

    def hold(self, *functions: str) -> None:
        for function in functions:
            self._gates.close(function, self._moment)

    async def kill(self, function: str, worker: WorkerProcess) -> None:
        """Wait for the worker's held call, kill it, and let the next one pass."""
        try:
            backend = await self._gates.caught(function)
        except TimeoutError:
            raise AssertionError(f"no call of {function}: {worker.seen[-5:]} {worker.errors}") from None
        await asyncio.to_thread(self._server.die, self._death, backend)
        self._gates.open(function)


@pytest.mark.proves("database restarts, is down for hours")
@pytest.mark.parametrize(("death", "moment"), [*ORDINARY, *SLOW])
async def test_each_call_of_a_meeting_is_killed_once_and_the_meeting_completes_once(
    mortal_lab: Lab, mortal_server: MortalPostgres, death: Death, moment: str
) -> None:
    lab = mortal_lab
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    calls, go = Calls(lab, mortal_server, death, moment, ALL), lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)}, diarize={"voices": VOICES})
    calls.hold(*AT_THE_START)
    with ScriptedLlm(thinks(honest)) as llm:
        worker = lab.worker("w1", SUMMARY_LLM_URL=llm.url, SUMMARY_LLM_MODEL="llama")
        for function in AT_THE_START:
            await calls.kill(function, worker)
        worker.wait_for("StageStarted", stage="transcribe")
        calls.hold(WHILE_IT_COMPUTES)
        await calls.kill(WHILE_IT_COMPUTES, worker)
        calls.hold(*AT_THE_END)
        go.touch()
        for function in AT_THE_END:
            await calls.kill(function, worker)
        worker.wait_for("MeetingCompleted", outcome="completed")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    assert worker.is_running


@pytest.mark.slow
@pytest.mark.parametrize(("death", "moment"), SOME)
async def test_a_failure_whose_report_is_killed_is_counted_once(
    mortal_lab: Lab, mortal_server: MortalPostgres, death: Death, moment: str
) -> None:
    lab = mortal_lab
    calls = Calls(lab, mortal_server, death, moment, ("worker_fail_v1",))
    script = {"raise_code": "internal_error", "only_first": 1, "count_file": str(lab.folder / "count")}
    meeting_id = await lab.enqueue(transcribe=script)
    calls.hold("worker_fail_v1")
    worker = lab.worker("w1")
    await calls.kill("worker_fail_v1", worker)
    worker.wait_for("MeetingFailed", outcome="retrying")
    assert lab.rows("select num_failures, num_crashes, num_attempts from pc_worker.jobs") == [(1, 0, 1)]
    lab.execute("update pc_worker.jobs set run_at = now()")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "failure"), ("w1", "completed")]


@pytest.mark.slow
@pytest.mark.parametrize(("death", "moment"), SOME)
async def test_a_meeting_whose_return_is_killed_is_done_by_the_next(
    mortal_lab: Lab, mortal_server: MortalPostgres, death: Death, moment: str
) -> None:
    """A worker that was told to go does not wait for the database: then the next one takes the meeting over."""
    lab, go = mortal_lab, mortal_lab.folder / "go"
    calls = Calls(lab, mortal_server, death, moment, ("worker_release_v1",))
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    calls.hold("worker_release_v1")
    worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="0.1")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGTERM)
    await calls.kill("worker_release_v1", worker)
    assert worker.wait() == 0, worker.errors
    lab.assert_sound()
    is_given_back = await lab.status(meeting_id) is MeetingStatus.PENDING
    go.touch()
    again = lab.worker("w1", once=True)
    assert again.wait() == 0, again.errors
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "released" if is_given_back else "reaped"), ("w1", "completed")]
