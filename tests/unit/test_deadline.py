"""What works on for ever, and says so all the time, is ended. Time itself is the subject here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from tests.unit.conftest import Workshop
from worker import events
from worker.deadline import ended_after
from worker.exceptions import DeadlineExceededError
from worker.models import MeetingStatus, Stage
from worker.pipeline import Limits
from worker.ports import Report, unheard

FOR_EVER: Mapping[str, Any] = {"until": "/nonexistent"}
SHORT = Limits(max_audio_bytes=10**6, deadline_s=0.5, deadline_rtf=0.0)


async def run_until(workshop: Workshop, kind: type[events.Event], num: int, **options: Any) -> None:
    """A worker until that many events of that kind were told; a meeting that is to be tried again is tried at once."""
    worker = workshop.worker(**options)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while sum(isinstance(event, kind) for event in workshop.seen) < num:
            for job in workshop.store.queue.jobs.values():
                job.run_at = 0.0
            await asyncio.sleep(0.01)
    worker.request_stop()
    worker.request_stop()
    await running


def codes(workshop: Workshop, meeting_id: UUID) -> list[tuple[str | None, str | None, str | None]]:
    past = [one for one in workshop.store.queue.attempts.values() if one.meeting_id == meeting_id]
    return [(one.outcome, one.code, one.stage) for one in past]


@pytest.mark.parametrize(
    "stage", ["transcribe", *(pytest.param(s, marks=pytest.mark.slow) for s in ("decode", "align"))]
)
async def test_a_stage_without_end_fails_the_meeting_after_three_attempts(workshop: Workshop, stage: str) -> None:
    """Each has its code and its stage in the history."""
    meeting_id = await workshop.enqueue(hotwords=None, **{stage: FOR_EVER})
    await run_until(workshop, events.MeetingFailed, 3, limits=SHORT)
    meeting = (await workshop.found(meeting_id)).meeting
    assert (meeting.status, meeting.error_code, meeting.stage) == (MeetingStatus.FAILED, "deadline_exceeded", stage)
    assert codes(workshop, meeting_id) == [("failure", "deadline_exceeded", stage)] * 3


async def test_diarization_without_end_is_tried_once_more_and_never_costs_the_transcript(workshop: Workshop) -> None:
    """The first time the stages before it may have used up its time; the second time they are there already."""
    meeting_id = await workshop.enqueue(diarize=FOR_EVER)
    await run_until(workshop, events.MeetingCompleted, 1, limits=SHORT)
    found = await workshop.found(meeting_id)
    assert [warning.code for warning in found.meeting.warnings] == ["diarize_failed"]
    assert found.segments
    assert codes(workshop, meeting_id) == [("failure", "deadline_exceeded", "diarize"), ("completed", None, None)]


async def test_a_summary_without_end_costs_the_summary_alone(workshop: Workshop) -> None:
    """At once: it has a deadline of its own, which no other stage used up."""
    meeting_id = await workshop.enqueue()
    await run_until(workshop, events.MeetingCompleted, 1, limits=SHORT, summarize=FOR_EVER)
    found = await workshop.found(meeting_id)
    assert [warning.code for warning in found.meeting.warnings] == ["summarize_failed"]
    assert codes(workshop, meeting_id) == [("completed", None, None)]


async def test_waiting_for_a_process_that_others_use_does_not_count() -> None:
    """It counts from the first report."""

    async def work(report: Report) -> str:
        await asyncio.sleep(0.1)  # longer than it may work
        report(0.0)
        return "done"

    assert await ended_after(0.02, work, unheard) == "done"


async def test_what_has_begun_to_report_is_ended() -> None:
    heard: list[float] = []

    async def work(report: Report) -> None:
        while True:
            report(0.5)
            await asyncio.sleep(0.001)

    with pytest.raises(DeadlineExceededError):
        await ended_after(0.02, work, heard.append)
    assert heard


async def test_a_report_that_comes_late_is_harmless() -> None:
    """A thread or a pipe may bring it after the end."""
    reports: list[Report] = []

    async def work(report: Report) -> None:
        reports.append(report)

    await ended_after(0.02, work, unheard)
    reports[0](1.0)


async def test_a_timeout_of_the_stage_itself_is_not_the_deadline() -> None:
    async def work(_report: Report) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await ended_after(20.0, work, unheard)


@pytest.mark.slow
async def test_waiting_for_the_engine_does_not_count(workshop: Workshop) -> None:
    """Somebody else has it for longer than this meeting may have it."""
    meeting_id = await workshop.enqueue()
    limits = Limits(max_audio_bytes=10**6, deadline_s=3.0, deadline_rtf=0.0)
    worker = workshop.worker(limits=limits)
    async with worker._runner.pipeline.stages.engine():
        running = asyncio.create_task(worker.run(once=True))
        await workshop.wait_for(events.StageFinished, stage=Stage.DECODE)
        await asyncio.sleep(4.0)
    await running
    assert codes(workshop, meeting_id) == [("completed", None, None)]
    assert not any(isinstance(event, events.MeetingFailed) for event in workshop.seen)
