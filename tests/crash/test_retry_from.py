"""`retry MEETING --from STAGE` on real workers, really killed: what was done before that stage is not done again."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.crash.conftest import Lab
from tests.support.shell import Shell
from tests.support.worker_process import WorkerProcess, environment_in, url_of
from worker.models import MeetingStatus, Stage

pytestmark = pytest.mark.crash

KEEPS = {"KEEP_STAGES_DAYS": "1"}
TEXT = ["transcribe", "align"]


async def ask_anew(lab: Lab, meeting_id: UUID, stage: str | None) -> None:
    answer = await lab.store.retry(meeting_id, from_stage=Stage(stage) if stage else None)
    assert answer.outcome == "pending"


def said(lab: Lab, meeting_id: UUID, *options: str, exit_code: int = 0) -> str:
    """By the command, to people."""
    shell = Shell(lab.folder, environment_in(lab.folder, url_of(lab.dsn), f"cli-{uuid4().hex[:8]}"))
    done = shell("retry", str(meeting_id), *options)
    assert done.returncode == exit_code, done.stderr
    return " ".join(done.stderr.split())


def lease_runs_out(lab: Lab) -> None:
    lab.execute("update pc_worker.jobs set lease_expires_at = now() - interval '1 hour'")
    lab.execute("select pc_worker.reap(now())")


def finished(lab: Lab, worker_id: str = "w1", **variables: str) -> WorkerProcess:
    """A worker that emptied the queue."""
    worker = lab.worker(worker_id, once=True, **variables)
    assert worker.wait() == 0, worker.errors
    return worker


def killed_at(lab: Lab, moment: str, **variables: str) -> WorkerProcess:
    worker = lab.worker("w1", once=True, flags=[f"--signal-at=SIGKILL@{moment}"], **variables)
    assert worker.wait() == -signal.SIGKILL, worker.errors
    return worker


def told(worker: WorkerProcess, event: str, **fields: Any) -> list[str]:
    wanted: Mapping[str, Any] = {"event": event, **fields}
    return [told["stage"] for told in worker.seen if wanted.items() <= told.items()]


def reused(worker: WorkerProcess) -> list[str]:
    return told(worker, "StageFinished", reused=True)


async def completed_again(lab: Lab, meeting_id: UUID, *, num_times: int = 2) -> list[str]:
    """The stages that the result says were reused."""
    found = await lab.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert found.meeting.result is not None
    assert [outcome for _, outcome in lab.attempts(meeting_id)].count("completed") == num_times
    lab.assert_sound()
    reused_stages: list[str] = found.meeting.result["reused_stages"]
    return reused_stages


async def test_a_kill_in_the_middle_of_a_stage_done_anew_costs_nothing_before_it(lab: Lab) -> None:
    """Of a completed meeting, because somebody knows now how many people spoke."""
    meeting_id = await lab.enqueue()
    finished(lab, **KEEPS)
    lab.execute("update public.meetings set min_speakers = 3")
    await ask_anew(lab, meeting_id, "diarize")
    assert reused(killed_at(lab, "StageStarted:diarize", **KEEPS)) == TEXT
    again = finished(lab, **KEEPS)
    assert reused(again) == ["decode", *TEXT]
    assert told(again, "StageStarted") == ["fetch", "diarize", "turns", "identify", "summarize", "commit"]
    assert await completed_again(lab, meeting_id) == ["decode", *TEXT]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "before"), [("diarize", []), ("identify", ["diarize"])])
async def test_a_failed_meeting_goes_on_from_the_stage_that_is_named(lab: Lab, stage: str, before: list[str]) -> None:
    """Its PC was switched off twice; what it had done is still there, the sound as well."""
    meeting_id = await lab.enqueue()
    lab.execute("update pc_worker.jobs set num_crashes = 1")
    killed_at(lab, "StageStarted:summarize")
    lease_runs_out(lab)
    assert (await lab.found(meeting_id)).meeting.error_code == "poison"
    await ask_anew(lab, meeting_id, stage)
    again = finished(lab)
    assert reused(again) == await completed_again(lab, meeting_id, num_times=1) == ["decode", *TEXT, *before]
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
async def test_what_was_made_anew_survives_a_kill_after_it(lab: Lab) -> None:
    """And a plain retry after that uses it, too."""
    meeting_id = await lab.enqueue()
    finished(lab, **KEEPS)
    await ask_anew(lab, meeting_id, "diarize")
    killed_at(lab, "StageStarted:summarize", **KEEPS)
    assert reused(finished(lab, **KEEPS)) == ["decode", *TEXT, "diarize"]
    await ask_anew(lab, meeting_id, None)
    assert reused(finished(lab, **KEEPS)) == [*TEXT, "diarize", "summarize"]
    await completed_again(lab, meeting_id, num_times=3)


@pytest.mark.slow
async def test_where_nothing_is_kept_all_is_done_anew_and_the_old_result_stays_meanwhile(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    finished(lab)
    assert lab.leftovers == []
    before = await lab.found(meeting_id)
    await ask_anew(lab, meeting_id, "summarize")
    killed_at(lab, "StageStarted:summarize")
    meanwhile = await lab.found(meeting_id)
    assert meanwhile.meeting.status is MeetingStatus.PROCESSING
    assert (meanwhile.segments, meanwhile.summary) == (before.segments, before.summary)
    finished(lab)
    await completed_again(lab, meeting_id)
    assert lab.leftovers == []


@pytest.mark.slow
async def test_another_pc_does_all_of_it(lab: Lab) -> None:
    """It may take the meeting all the same: none is kept waiting for the PC that has its stages."""
    meeting_id = await lab.enqueue()
    finished(lab, **KEEPS)
    await ask_anew(lab, meeting_id, "summarize")
    other = finished(lab, "w2", AUDIO_TEMP_DIR=str(lab.folder / "temp_of_w2"))
    assert reused(other) == await completed_again(lab, meeting_id) == []


@pytest.mark.slow
async def test_a_corrected_transcript_is_only_replaced_when_that_is_said(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    finished(lab, **KEEPS)
    lab.execute("update public.transcript_segments set text = 'corrected' where segment_index = 0")
    assert "--replace-edits" in said(lab, meeting_id, "--from", "diarize", exit_code=1)
    assert "From diarize on it is done anew." in said(lab, meeting_id, "--from", "diarize", "--replace-edits")
    assert reused(finished(lab, **KEEPS)) == TEXT
    assert (await lab.found(meeting_id)).segments[0].text != "corrected"


@pytest.mark.slow
async def test_a_result_that_is_on_disk_when_its_stages_are_asked_for_anew_is_dropped(lab: Lab) -> None:
    """It was computed and not handed over; then somebody wanted other speakers."""
    meeting_id = await lab.enqueue()
    killed_at(lab, "StageStarted:commit", **KEEPS)
    lease_runs_out(lab)
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    await ask_anew(lab, meeting_id, "diarize")
    again = finished(lab, **KEEPS)
    assert "diarize" in told(again, "StageStarted")
    await completed_again(lab, meeting_id, num_times=1)
