"""The real engines, really killed in the middle of each stage: the work of finished stages is kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.crash.conftest import Lab
from tests.support.spoken_meetings import RATE_HZ, REAL_ENGINES, meetings
from worker.models import MeetingStatus

pytestmark = [pytest.mark.crash, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

ENGINE_STAGES = ("transcribe", "align", "diarize")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """All six meetings one after the other, nearly five minutes: each stage lasts long enough to be killed in."""
    path = tmp_path / "long.flac"
    soundfile.write(path, np.concatenate([meeting.samples for meeting in meetings()]), RATE_HZ)
    return path


def engine_pid(worker_pid: int) -> int:
    """The one child of the worker that is an engine, told by its command line."""
    for task in Path(f"/proc/{worker_pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"engine-" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    raise LookupError("the worker has no engine")


async def test_an_engine_killed_in_any_stage_costs_that_stage_and_nothing_else(lab: Lab, recording: Path) -> None:
    """One worker, never restarted: three meetings, killed in transcription, alignment and diarization."""
    worker = lab.worker("w1", flags=["--real-engines"], **REAL_ENGINES)
    for stage in ENGINE_STAGES:
        meeting_id = await lab.enqueue_recording(recording, stage)
        worker.wait_for("StageProgressed", stage=stage, meeting_id=str(meeting_id))
        os.kill(engine_pid(worker.pid), signal.SIGKILL)
        worker.wait_for("MeetingFailed", meeting_id=str(meeting_id), code="engine_crashed", stage=stage)
        lab.execute("update pc_worker.jobs set run_at = now()")
        worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id), patience_s=200)

        reused = [e["stage"] for e in worker.seen if e.get("reused") and e["meeting_id"] == str(meeting_id)]
        assert reused == ["decode", *ENGINE_STAGES[: ENGINE_STAGES.index(stage)]]
        found = await lab.found(meeting_id)
        assert found.meeting.status is MeetingStatus.COMPLETED
        assert len(found.speakers) >= 2
        assert found.meeting.warnings == ()
        assert [outcome for _, outcome in lab.attempts(meeting_id)][-2:] == ["crash", "completed"]
    assert worker.is_running
    assert lab.leftovers == []
