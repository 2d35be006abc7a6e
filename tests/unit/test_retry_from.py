"""What is worked again and what is reused when a meeting is asked for again from a stage on: over the memory twins."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import result, voice, worker_info
from tests.unit.conftest import Workshop
from worker import events
from worker.job_folder import KeptResult, open_job_folder
from worker.models import Diarization, MeetingStatus, Stage, StageCost

ONE_VOICE = [{"label": "SPEAKER_00", "start_s": 0.0, "end_s": 4.0}]
BEFORE_VOICES = [Stage.TRANSCRIBE, Stage.ALIGN]
KEPT = [Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE, Stage.SUMMARIZE]


async def worked(workshop: Workshop, **worker: Any) -> list[Stage]:
    """The stages that were reused while a worker emptied the queue."""
    workshop.seen.clear()
    await workshop.worker(**{"keep_stages_days": 1.0, **worker}).run(once=True)
    return [e.stage for e in workshop.seen if isinstance(e, events.StageFinished) and e.reused]


async def again_from(workshop: Workshop, meeting_id: UUID, stage: Stage | None, **worker: Any) -> list[Stage]:
    assert (await workshop.store.retry(meeting_id, from_stage=stage)).outcome == "pending"
    reused = await worked(workshop, **worker)
    found = await workshop.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert found.meeting.result is not None
    assert found.meeting.result["reused_stages"] == reused
    return reused


def kept_files(workshop: Workshop) -> list[str]:
    (folder,) = (workshop.folder / "temp").iterdir()
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("stage", "reused"),
    [
        (None, KEPT),
        (Stage.DIARIZE, BEFORE_VOICES),
        (Stage.IDENTIFY, [*BEFORE_VOICES, Stage.DIARIZE]),
        (Stage.SUMMARIZE, [*BEFORE_VOICES, Stage.DIARIZE]),
    ],
)
async def test_the_stage_and_all_after_it_are_worked_again_and_those_before_are_reused(
    workshop: Workshop, stage: Stage | None, reused: list[Stage]
) -> None:
    """The recording itself is never kept: it is fetched and decoded again."""
    meeting_id = await workshop.enqueue()
    assert await worked(workshop) == []
    assert await again_from(workshop, meeting_id, stage) == reused


async def test_what_a_wish_brought_is_kept_for_the_retries_after_it(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    await worked(workshop)
    await again_from(workshop, meeting_id, Stage.DIARIZE)
    assert await again_from(workshop, meeting_id, None) == KEPT
    assert await again_from(workshop, meeting_id, Stage.SUMMARIZE) == [*BEFORE_VOICES, Stage.DIARIZE]
    assert await again_from(workshop, meeting_id, Stage.DIARIZE) == BEFORE_VOICES
    assert await again_from(workshop, meeting_id, None) == KEPT


async def test_what_was_worked_again_is_not_lost_by_a_failure_after_it(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    await worked(workshop)
    await workshop.store.retry(meeting_id, from_stage=Stage.DIARIZE)
    away = {"raise_code": "disk_full", "only_first": 1, "count_file": workshop.folder / "count"}
    running = asyncio.create_task(worked(workshop, summarize=away))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    workshop.store.queue.jobs[meeting_id].run_at = workshop.store.queue.now()
    reused = await running
    assert reused == [*BEFORE_VOICES, Stage.DECODE, *BEFORE_VOICES, Stage.DIARIZE]


async def test_each_channel_by_itself_is_reused_and_its_voice_described_again(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(decode={"channels_apart": True})
    await worked(workshop)
    assert await again_from(workshop, meeting_id, Stage.DIARIZE) == BEFORE_VOICES
    assert await again_from(workshop, meeting_id, Stage.SUMMARIZE) == [*BEFORE_VOICES, Stage.DIARIZE]


async def test_another_recording_is_another_meeting(workshop: Workshop) -> None:
    """Somebody uploaded a better one under the same name: nothing of the old one is in its result."""
    meeting_id = await workshop.enqueue()
    await worked(workshop)
    (recording,) = (workshop.folder / "recordings").iterdir()
    recording.write_text('{"decode": {"channels_apart": true}}')
    assert await again_from(workshop, meeting_id, Stage.SUMMARIZE) == []


# --- what stays on the PC ------------------------------------------------------------------------------------------


async def test_nothing_of_a_completed_meeting_stays_unless_somebody_wants_that(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    await worked(workshop, keep_stages_days=0.0)
    assert workshop.leftovers == []
    assert await again_from(workshop, meeting_id, Stage.SUMMARIZE, keep_stages_days=0.0) == []


async def test_only_what_the_stages_made_stays(workshop: Workshop) -> None:
    """No recording, no sound, no result, no half of a file."""
    await workshop.enqueue(decode={"channels_apart": True})
    await worked(workshop)
    of_channels = ["align-1.json", "align-2.json", "transcribe-1.json", "transcribe-2.json"]
    others = ["decode.json", "diarize.json", "summarize.json", "finished", "lock"]
    assert kept_files(workshop) == sorted([*of_channels, *others])


async def test_a_retry_that_is_under_way_is_not_finished(workshop: Workshop) -> None:
    """Else its recording would be swept, or its stages kept for too short a time."""
    meeting_id = await workshop.enqueue()
    await worked(workshop)
    await workshop.store.retry(meeting_id, from_stage=Stage.DIARIZE)
    away = {"raise_code": "disk_full"}
    running = asyncio.create_task(worked(workshop, summarize=away))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    assert "source" in kept_files(workshop)
    assert "finished" not in kept_files(workshop)
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    ("age_days", "keep_stages_days", "stays"), [(0.5, 1.0, True), (1.5, 1.0, False), (0.0, 0.0, False)]
)
async def test_what_stays_is_swept_by_its_own_age(
    workshop: Workshop, age_days: float, keep_stages_days: float, stays: bool
) -> None:
    """Whoever sets KEEP_STAGES_DAYS back to 0 has nothing left at the next start."""
    await workshop.enqueue()
    await worked(workshop)
    (folder,) = (workshop.folder / "temp").iterdir()
    finished = (folder / "finished").stat().st_mtime - age_days * 86400
    for path in (folder / "finished", folder):
        os.utime(path, (finished, finished))
    await worked(workshop, keep_stages_days=keep_stages_days)
    assert bool(workshop.leftovers) == stays


async def test_where_nobody_is_recognised_no_voice_stays(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    await worked(workshop, identify_speakers=False)
    (folder,) = (workshop.folder / "temp").iterdir()
    assert '"embeddings":[]' in (folder / "diarize.json").read_text()
    assert "vector" not in (folder / "diarize.json").read_text()
    reused = await again_from(workshop, meeting_id, Stage.IDENTIFY, identify_speakers=False)
    assert reused == [*BEFORE_VOICES, Stage.DIARIZE]


@pytest.mark.parametrize("identify_speakers", [True, False])
async def test_what_a_dead_worker_left_is_kept_unless_voices_may_be_in_it(
    workshop: Workshop, identify_speakers: bool
) -> None:
    """Its result is handed over; recognising people was switched off since."""
    meeting_id, dead = await workshop.enqueue(), worker_info("dead")
    await workshop.store.register(dead)
    claim = (await workshop.store.claim(dead.worker_id, dead.instance_id, uuid4())).claim
    assert claim is not None
    folder = open_job_folder(workshop.folder / "temp", meeting_id, claim.token)
    heard = Diarization(turns=(), exclusive=(), embeddings=voice("SPEAKER_00").embeddings, diarizer="d", model="m")
    folder.save(Stage.DIARIZE, "k", heard, StageCost(seconds=1.0))
    folder.save_result(KeptResult(meeting_id=meeting_id, token=claim.token, result=result("hello")))
    folder.close()
    await worked(workshop, identify_speakers=identify_speakers)
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.COMPLETED
    assert workshop.leftovers == ([str(meeting_id)] if identify_speakers else [])


async def test_of_a_result_that_nobody_wants_nothing_stays(workshop: Workshop) -> None:
    """Cancelled at the last moment: also what was kept of the result before goes."""
    go = workshop.folder / "go"
    meeting_id = await workshop.enqueue(diarize={"until": str(go)})
    go.touch()
    await worked(workshop)
    go.unlink()
    await workshop.store.retry(meeting_id, from_stage=Stage.DIARIZE)
    workshop.seen.clear()
    running = asyncio.create_task(workshop.worker(keep_stages_days=1.0).run(once=True))
    await workshop.wait_for(events.StageStarted, stage=Stage.DIARIZE)
    await workshop.store.cancel(meeting_id)
    go.touch()
    await running
    assert workshop.leftovers == []
