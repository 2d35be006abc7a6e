"""Commands for people: put meetings into the queue, look at them, change them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli_shared import AsJson, console, print_json, refuse, with_store

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.models import WriteAnswer
    from worker.ports import Store

MeetingId = Annotated[UUID, typer.Argument(metavar="ID", help="The meeting's id, as `list` shows it.")]


class StatusName(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ChannelsName(StrEnum):
    SEPARATE = "separate"
    MIXED = "mixed"


class FromStage(StrEnum):
    DIARIZE = "diarize"
    IDENTIFY = "identify"
    SUMMARIZE = "summarize"


class ShowFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def enqueue(
    recordings: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Audio or video files of any format, or https:// addresses.")
    ],
    title: Annotated[str | None, typer.Option(help="Title; the file's name if not given.")] = None,
    user: Annotated[UUID | None, typer.Option(help="Id of the user who owns it; the lab's if not given.")] = None,
    language: Annotated[str | None, typer.Option(help="Spoken language, such as en; found out if not given.")] = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    min_speakers: Annotated[int | None, typer.Option(min=1, help="At least so many people speak.")] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, help="At most so many people speak.")] = None,
    channels: Annotated[
        ChannelsName | None, typer.Option(help="Whether each of two channels is one person's; found out if not given.")
    ] = None,
) -> None:
    """Put recordings into the queue; prints the id of each meeting."""
    from worker import app_recordings
    from worker.models import NewMeeting
    from worker.progress import CopyBar

    if min_speakers and max_speakers and min_speakers > max_speakers:
        raise typer.BadParameter("--min-speakers is greater than --max-speakers.")
    asked = NewMeeting(
        title=title or "",
        user_id=user,
        language=language,
        priority=priority,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        channels=channels.value if channels else None,
    )

    async def work(settings: Settings, store: Store) -> None:
        for recording in recordings:
            if app_recordings.is_url(recording):
                meeting_id = await app_recordings.enqueue_url(store, recording, asked)
            else:
                file = Path(recording)
                with CopyBar(console(stderr=True), file.name) as bar:
                    meeting_id = await app_recordings.enqueue_file(settings, store, file, asked, report=bar)
            typer.echo(meeting_id)

    with_store(work)


def list_meetings(
    status: Annotated[StatusName | None, typer.Option(help="Only meetings with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show meetings, newest first."""
    from worker import views
    from worker.models import MeetingStatus

    wanted = MeetingStatus(status) if status else None
    meetings = with_store(lambda _, store: store.meetings(wanted, limit=limit))
    if as_json:
        print_json({"meetings": [meeting.model_dump(mode="json", exclude={"result"}) for meeting in meetings]})
    elif meetings:
        console().print(views.meetings_table(meetings))
    else:
        console(stderr=True).print("No meetings. Add one with `python -m worker enqueue FILE`.")


def show(
    meeting_id: MeetingId,
    format: Annotated[ShowFormat, typer.Option(help="text: for reading; json: everything.")] = ShowFormat.TEXT,
    as_json: AsJson = False,
) -> None:
    """Show one meeting: status, transcript, summary."""
    from worker import views

    found = with_store(lambda _, store: store.meeting(meeting_id))
    if found is None:
        refuse(f"There is no meeting {meeting_id}. `python -m worker list` shows those there are.")
    elif as_json or format is ShowFormat.JSON:
        print_json(found.model_dump(mode="json"))
    else:
        console().print(views.detail(found))


def retry(
    meeting_id: MeetingId,
    replace_edits: Annotated[
        bool, typer.Option("--replace-edits", help="Also when that replaces text corrected by hand.")
    ] = False,
    from_stage: Annotated[
        FromStage | None,
        typer.Option("--from", help="Do this stage and all after it anew; use what is still kept of those before it."),
    ] = None,
) -> None:
    """Put a failed, cancelled or completed meeting back into the queue."""
    from worker.models import Stage

    stage = Stage(from_stage) if from_stage else None
    answer = with_store(lambda _, store: store.retry(meeting_id, replace_edits=replace_edits, from_stage=stage))
    done = "The meeting is pending again."
    if stage:
        done += (
            f" From {stage} on it is done anew. What comes before that is reused only on a PC that still keeps it "
            "(of a completed meeting: for KEEP_STAGES_DAYS); any other PC does all of it again."
        )
    report(answer, meeting_id, done, wanted=("pending", "already_done"))


def cancel(meeting_id: MeetingId) -> None:
    """Cancel a pending meeting, or one in progress: its worker stops within half a minute."""
    answer = with_store(lambda _, store: store.cancel(meeting_id))
    report(answer, meeting_id, "The meeting is cancelled.", wanted=("cancelled", "already_done"))


def report(answer: WriteAnswer, meeting_id: UUID, done: str, *, wanted: tuple[str, ...]) -> None:
    if answer.outcome in wanted:
        console(stderr=True).print(answer.message or done)
    elif answer.outcome == "gone":
        refuse(f"There is no meeting {meeting_id}. `python -m worker list` shows those there are.")
    else:
        refuse(answer.message or f"That is not possible: {answer.outcome}.")
