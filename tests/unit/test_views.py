"""What people see on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from rich.console import Console, RenderableType

from tests.support.queue_values import result
from worker import views
from worker.models import (
    FleetStatus,
    Meeting,
    MeetingDetail,
    MeetingSpeaker,
    MeetingStatus,
    MeetingSummary,
    SummaryItem,
    Trouble,
    WorkerState,
    WorkInProgress,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def shown(value: RenderableType, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(value)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def meeting(**fields: object) -> Meeting:
    return Meeting.model_validate({"id": uuid4(), "title": "x", "created_at": NOW, "updated_at": NOW, **fields})


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65.2, "1:05"), (3725.0, "1:02:05")])
def test_times_read_as_on_a_player(seconds: float, text: str) -> None:
    assert views.clock_time(seconds) == text


def test_an_id_can_be_copied_from_a_narrow_terminal() -> None:
    row = meeting(title="a rather long title of a meeting that nobody would ever want to read in full")
    assert str(row.id) in shown(views.meetings_table([row]), width=60)


def test_titles_with_markup_are_shown_as_they_are() -> None:
    """Somebody's title must neither colour the table nor break it."""
    row = meeting(title="[red]urgent[/red] [/]")
    assert "[red]urgent[/red] [/]" in shown(views.meetings_table([row]), width=160)


def test_a_transcript_shows_names_where_there_are_some() -> None:
    value = result("hello there", "good-bye")
    speakers = (MeetingSpeaker(label="SPEAKER_00", speech_s=3.0, name="Ada"),)
    found = MeetingDetail(
        meeting=meeting(status=MeetingStatus.COMPLETED, duration_s=65.0),
        segments=value.segments,
        speakers=speakers,
        summary=value.summary,
    )
    text = shown(views.detail(found))
    assert "0:00 - 0:00  Ada  hello there" in text
    assert "completed" in text
    assert "1:05" in text
    assert "sentences picked from the transcript" in text


def test_a_summary_shows_names_and_who_wrote_it() -> None:
    """A name that was given later too; the owner of a task may also be somebody who did not speak."""
    tasks = (
        SummaryItem(text="Buy it", owner="SPEAKER_00", due="Friday"),
        SummaryItem(text="Sell it", owner="Bea"),
        SummaryItem(text="Keep it"),
    )
    value = MeetingSummary(overview="x", action_items=tasks, method="llm", model="llama", is_edited=True)
    text = shown(views.summary(value, {"SPEAKER_00": "Ada"}))
    assert "Summary (written by llama, corrected by hand)" in text
    assert [line.strip() for line in text.splitlines() if line.startswith("  -")] == [
        "- Buy it  (Ada, Friday)",
        "- Sell it  (Bea)",
        "- Keep it",
    ]


def test_a_failed_meeting_shows_sentence_and_code() -> None:
    row = meeting(status=MeetingStatus.FAILED, error_code="audio_empty", error_message="It is empty. Upload it again.")
    assert "It is empty. Upload it again. [audio_empty]" in shown(views.detail(MeetingDetail(meeting=row)))


def test_a_queue_that_nobody_works_on_says_how_to_start_a_worker() -> None:
    text = shown(views.fleet(FleetStatus(counts={MeetingStatus.PENDING: 3}, oldest_pending_s=7200.0)))
    assert "3 pending" in text
    assert "2 h" in text
    assert "python -m worker run" in text


def worker_state(**fields: object) -> WorkerState:
    known = {"worker_id": "lab-1", "name": "lab-1", "hostname": "pc-1", "version": "0.4", "last_seen_s": 7.0}
    return WorkerState.model_validate({**known, "alive": True, "draining": False, **fields})


WORK = WorkInProgress(meeting_id=uuid4(), title="Seminar", stage="align", progress=0.5, running_s=600.0)
TAKEN = Trouble(code="gpu_taken", sentence="The GPU is in use by the worker lab-2. Stop it.")


def test_the_fleet_shows_version_host_gpu_driver_and_meetings_of_each_worker() -> None:
    worker = worker_state(gpu="NVIDIA X", driver="570.1", meetings=(WORK,))
    text = shown(views.fleet(FleetStatus(counts={}, workers=(worker,))), width=160)
    for word in ("lab-1", "pc-1", "0.4", "NVIDIA X", "driver 570.1", "alive", "7 s ago", "Seminar - align 50%"):
        assert word in text


def test_a_trouble_is_shown_in_words_with_its_code() -> None:
    text = shown(views.fleet(FleetStatus(counts={}, workers=(worker_state(troubles=(TAKEN,)),))), width=160)
    assert "in trouble" in text
    assert "lab-1: The GPU is in use by the worker lab-2. Stop it. [gpu_taken]" in text


def test_the_last_words_of_a_worker_that_is_gone_are_not_shown_as_news() -> None:
    text = shown(views.fleet(FleetStatus(counts={}, workers=(worker_state(alive=False, troubles=(TAKEN,)),))))
    assert "not seen" in text
    assert "in use" not in text


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"meetings": (WORK,)}, "draining"),
        ({}, "drained"),
        ({"alive": False}, "not seen, drained"),
    ],
)
def test_a_worker_that_takes_no_more_meetings_says_so(fields: dict[str, object], state: str) -> None:
    """`draining` until it has finished what it had; a PC that is off is still drained when it comes back."""
    worker = worker_state(draining=True, **fields)
    assert f" {state} " in shown(views.fleet(FleetStatus(counts={}, workers=(worker,))), width=160)
