"""What people see on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from rich.console import Console, RenderableType

from tests.support.queue_values import result
from worker import views
from worker.models import FleetStatus, Meeting, MeetingDetail, MeetingSpeaker, MeetingStatus

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


def test_a_failed_meeting_shows_sentence_and_code() -> None:
    row = meeting(status=MeetingStatus.FAILED, error_code="audio_empty", error_message="It is empty. Upload it again.")
    assert "It is empty. Upload it again. [audio_empty]" in shown(views.detail(MeetingDetail(meeting=row)))


def test_a_queue_that_nobody_works_on_says_how_to_start_a_worker() -> None:
    text = shown(views.fleet(FleetStatus(counts={MeetingStatus.PENDING: 3}, oldest_pending_s=7200.0)))
    assert "3 pending" in text
    assert "2 h" in text
    assert "python -m worker run" in text
