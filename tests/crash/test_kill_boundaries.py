"""SIGKILL at the very moment of each event of a meeting: nothing is lost, nothing is done twice or partly."""

from __future__ import annotations

import signal
from pathlib import Path
from uuid import UUID

import pytest

from tests.crash.conftest import Lab
from tests.support.worker_process import WorkerProcess
from worker.models import MeetingStatus, Stage

pytestmark = pytest.mark.crash

KEPT = (Stage.DECODE, Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE, Stage.SUMMARIZE)
"""What the next attempt on the same PC need not compute again, in the order of the stages."""

STAGES = tuple(stage for stage in Stage if stage is not Stage.WAITING_FOR_AUDIO)
MOMENTS = [
    "WorkerStarted",
    "MeetingClaimed",
    *(f"{event}:{stage}" for stage in STAGES for event in ("StageStarted", "StageFinished")),
]
NOTHING_TO_DO = ("StageFinished:commit",)
NOT_CLAIMED = ("WorkerStarted",)

CLAIMED_MOMENTS = tuple(moment for moment in MOMENTS if moment not in NOT_CLAIMED)

TELLING = ("StageFinished:decode", "StageStarted:commit")
"""For `make test`: the others are slow."""


def moments() -> list[object]:
    return [pytest.param(moment, marks=() if moment in TELLING else pytest.mark.slow) for moment in MOMENTS]


def kept_at(moment: str) -> list[str]:
    """What was on disk: a stage's value is kept right after its end is told."""
    stage = moment.partition(":")[2]
    return [kept for kept in KEPT if stage and list(Stage).index(kept) < list(Stage).index(Stage(stage))]


def reused_by(worker: WorkerProcess) -> list[str]:
    return [told["stage"] for told in worker.seen if told["event"] == "StageFinished" and told["reused"]]


def killed_at(lab: Lab, moment: str, worker_id: str = "w1", **variables: str) -> WorkerProcess:
    """A worker that has done what it does until then, and is no more."""
    worker = lab.worker(worker_id, once=False, flags=[f"--signal-at=SIGKILL@{moment}"], **variables)
    assert worker.wait() == -signal.SIGKILL, worker.errors
    return worker


def dead(moment: str) -> str:
    return f"dead{MOMENTS.index(moment)}"


def temp_folder(lab: Lab, moment: str) -> Path:
    """Of a PC of its own: nothing that lies in it can help another."""
    return lab.folder / f"temp of {dead(moment)}"


@pytest.mark.parametrize("moment", moments())
@pytest.mark.proves("worker killed (SIGKILL) at any stage")
async def test_a_worker_killed_at_any_moment_goes_on_at_once_when_it_restarts(lab: Lab, moment: str) -> None:
    meeting_id = await lab.enqueue()
    killed_at(lab, moment)
    again = lab.worker("w1", once=True)
    assert again.wait() == 0, again.errors

    await lab.assert_done_once(meeting_id)
    is_broken_off = moment not in (*NOT_CLAIMED, *NOTHING_TO_DO)
    assert lab.attempts(meeting_id) == [("w1", "reaped")] * is_broken_off + [("w1", "completed")]
    assert again.seen[0]["num_taken_over"] == is_broken_off
    assert reused_by(again) == ([] if moment in NOTHING_TO_DO else kept_at(moment))


@pytest.mark.slow
@pytest.mark.proves("worker killed (SIGKILL) at any stage")
async def test_another_pc_does_what_pcs_that_died_at_any_moment_left(lab: Lab) -> None:
    """And what lies on the dead ones' disks does no harm when they come back."""
    of: dict[str, UUID] = {}
    for moment in CLAIMED_MOMENTS:
        of[moment] = await lab.enqueue(moment)  # the only one that is pending: the next worker claims it
        killed_at(lab, moment, dead(moment), AUDIO_TEMP_DIR=str(temp_folder(lab, moment)))
    lab.execute("update pc_worker.jobs set lease_expires_at = now() - interval '1 hour' where state = 'processing'")
    alive = lab.worker("alive", once=True)
    assert alive.wait() == 0, alive.errors

    assert reused_by(alive) == []
    for moment, meeting_id in of.items():
        await lab.assert_done_once(meeting_id)
        is_done = moment in NOTHING_TO_DO
        history = [(dead(moment), "completed")] if is_done else [(dead(moment), "reaped"), ("alive", "completed")]
        assert lab.attempts(meeting_id) == history

    for moment in ("StageStarted:diarize", "StageStarted:commit"):
        assert list(temp_folder(lab, moment).iterdir())
        back = lab.worker(dead(moment), once=True, AUDIO_TEMP_DIR=str(temp_folder(lab, moment)))
        assert back.wait() == 0, back.errors
        assert list(temp_folder(lab, moment).iterdir()) == []
        assert [told for told in back.seen if told["event"] == "MeetingClaimed"] == []
        await lab.assert_done_once(of[moment])


@pytest.mark.slow
async def test_a_meeting_is_finished_however_often_it_is_killed_before_the_limit(lab: Lab) -> None:
    """Each restart goes on where the last one was killed: no stage is computed twice."""
    lab.execute("update pc_worker.settings set max_crashes = 6")
    meeting_id = await lab.enqueue()
    runs = [killed_at(lab, f"StageStarted:{stage}") for stage in (*KEPT[1:], Stage.COMMIT)]
    runs.append(last := lab.worker("w1", once=True))
    assert last.wait() == 0, last.errors
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "reaped")] * 5 + [("w1", "completed")]
    computed = [
        told["stage"]
        for run in runs
        for told in run.seen
        if told["event"] == "StageFinished" and not told["reused"] and told["stage"] in KEPT
    ]
    assert computed == list(KEPT)


@pytest.mark.slow
async def test_two_kills_are_the_limit_and_a_person_can_still_retry(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    for moment in ("StageStarted:transcribe", "StageStarted:diarize"):
        killed_at(lab, moment)
    third = lab.worker("w1", once=True)
    assert third.wait() == 0, third.errors
    found = (await lab.found(meeting_id)).meeting
    assert (found.status, found.error_code) == (MeetingStatus.FAILED, "poison")
    assert "only switched off, retry the meeting" in (found.error_message or "")
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w1", "reaped")]
    lab.assert_sound()

    await lab.store.retry(meeting_id)
    fourth = lab.worker("w1", once=True)
    assert fourth.wait() == 0, fourth.errors
    await lab.assert_done_once(meeting_id)
    assert reused_by(fourth) == ["decode", "transcribe", "align"]
