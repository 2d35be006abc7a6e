"""The command line: `python -m worker`. The only module that prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from worker.exceptions import ConfigurationError, PCWorkerException, WorkerIdTakenError

if TYPE_CHECKING:
    from rich.console import Console

    from worker.config import Settings
    from worker.models import WriteAnswer
    from worker.ports import Store

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: restarting will not help

cli = typer.Typer(
    name="worker",
    help="Turns meeting recordings into speaker-attributed transcripts and summaries.\n\n"
    "Settings come from the environment and from .env; .env.example explains each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MeetingId = Annotated[UUID, typer.Argument(metavar="ID", help="The meeting's id, as `list` shows it.")]


class EngineName(StrEnum):
    SPHINX = "sphinx"
    WHISPERX = "whisperx"


class StatusName(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ShowFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings."""
    try:
        cli()
    except (ConfigurationError, WorkerIdTakenError) as error:
        _complain(error)
        sys.exit(EXIT_CONFIG)
    except PCWorkerException as error:
        _complain(error)
        sys.exit(EXIT_FAILED)


@cli.command()
def run(
    once: Annotated[
        bool, typer.Option("--once", help="End when the queue is empty instead of waiting for more.")
    ] = False,
) -> None:
    """Work: take meetings from the queue until told to stop (SIGTERM, or Ctrl-C; a second one hurries)."""
    from worker import app
    from worker.config import Need, load_settings
    from worker.observe.event_log import EventLog
    from worker.observe.logs import configure_logging

    settings = load_settings([Need.DATABASE, Need.WORKER])
    logs = configure_logging(
        log_dir=settings.log_dir,
        level=settings.log_level,
        format=settings.log_format,
        secrets=settings.secrets(),
        worker_id=settings.worker_id or "",
    )
    with logs:
        _run(app.run_worker(settings, once=once, observers=[EventLog()]))


@cli.command()
def demo(
    audio: Annotated[Path | None, typer.Argument(help="A recording of your own; without it, the sample.")] = None,
    engine: Annotated[EngineName, typer.Option(help="Who transcribes.")] = EngineName.SPHINX,
    as_json: AsJson = False,
) -> None:
    """See it work: a real recording through a real queue, on a database of its own."""
    from worker import demo as demonstration
    from worker import views
    from worker.models import MeetingStatus
    from worker.observe.event_log import EventLog
    from worker.observe.logs import configure_logging
    from worker.progress import ProgressBars

    people = _console(stderr=as_json)
    people.print(demonstration.ABOUT_ENGINE[engine])
    recording = demonstration.Recording(audio, audio.name) if audio else demonstration.sample()
    settings = demonstration.demo_settings(engine)
    logs = configure_logging(
        log_dir=settings.log_dir,
        level="INFO",
        format="text",
        secrets=settings.secrets(),
        worker_id=settings.worker_id or "",
        console=False,
    )
    with logs, ProgressBars(people) as bars:
        found = _run(demonstration.run(settings, recording, [bars, EventLog()]))
    scores = _run(demonstration.score(settings, recording, found))
    people.print()
    people.print(views.detail(found))
    if scores is not None:
        people.print(views.scores(scores))
    if as_json:
        _print_json(demonstration.report(found, scores))
    if found.meeting.status is not MeetingStatus.COMPLETED:
        raise typer.Exit(EXIT_FAILED)


@cli.command()
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
    )

    async def work(settings: Settings, store: Store) -> None:
        for recording in recordings:
            if app_recordings.is_url(recording):
                meeting_id = await app_recordings.enqueue_url(store, recording, asked)
            else:
                file = Path(recording)
                with CopyBar(_console(stderr=True), file.name) as bar:
                    meeting_id = await app_recordings.enqueue_file(settings, store, file, asked, report=bar)
            typer.echo(meeting_id)

    _with_store(work)


@cli.command(name="list")
def list_meetings(
    status: Annotated[StatusName | None, typer.Option(help="Only meetings with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show meetings, newest first."""
    from worker import views
    from worker.models import MeetingStatus

    wanted = MeetingStatus(status) if status else None
    meetings = _with_store(lambda _, store: store.meetings(wanted, limit=limit))
    if as_json:
        _print_json({"meetings": [meeting.model_dump(mode="json", exclude={"result"}) for meeting in meetings]})
    elif meetings:
        _console().print(views.meetings_table(meetings))
    else:
        _console(stderr=True).print("No meetings. Add one with `python -m worker enqueue FILE`.")


@cli.command()
def status(as_json: AsJson = False) -> None:
    """Show the queue, the workers, and what each is doing."""
    from worker import views

    state = _with_store(lambda _, store: store.status(), with_any_key=True)
    if as_json:
        _print_json(state.model_dump(mode="json"))
    else:
        _console().print(views.fleet(state))


@cli.command()
def show(
    meeting_id: MeetingId,
    format: Annotated[ShowFormat, typer.Option(help="text: for reading; json: everything.")] = ShowFormat.TEXT,
    as_json: AsJson = False,
) -> None:
    """Show one meeting: status, transcript, summary."""
    from worker import views

    found = _with_store(lambda _, store: store.meeting(meeting_id))
    if found is None:
        _refuse(f"There is no meeting {meeting_id}. `python -m worker list` shows those there are.")
    elif as_json or format is ShowFormat.JSON:
        _print_json(found.model_dump(mode="json"))
    else:
        _console().print(views.detail(found))


@cli.command()
def retry(
    meeting_id: MeetingId,
    replace_edits: Annotated[
        bool, typer.Option("--replace-edits", help="Also when that replaces text corrected by hand.")
    ] = False,
) -> None:
    """Put a failed, cancelled or completed meeting back into the queue."""
    answer = _with_store(lambda _, store: store.retry(meeting_id, replace_edits=replace_edits))
    _report(answer, meeting_id, "The meeting is pending again.", wanted=("pending", "already_done"))


@cli.command()
def cancel(meeting_id: MeetingId) -> None:
    """Cancel a pending meeting, or one in progress: its worker stops within half a minute."""
    answer = _with_store(lambda _, store: store.cancel(meeting_id))
    _report(answer, meeting_id, "The meeting is cancelled.", wanted=("cancelled", "already_done"))


@cli.command()
def migrate(
    print_sql: Annotated[
        bool, typer.Option("--print", help="Print the SQL, for the SQL editor of a new project, instead of running it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try it, say what would be done, and undo it.")] = False,
) -> None:
    """
    Bring the database up to date. Tables of our names that are there are adopted: their rows and columns stay.

    Of a Supabase project it takes the address of the session pooler (dashboard: Connect, Session pooler; port 5432) as
    SUPABASE_DB_URL, from the environment or .env.admin. The direct address will do where there is IPv6, the
    transaction pooler (port 6543) will not.
    """
    from worker import app_database
    from worker.config import Need, load_settings

    if print_sql:
        typer.echo(app_database.migration_script())
        return
    done = _run(app_database.migrate(load_settings([Need.MIGRATION]), dry_run=dry_run))
    would = "would be " if dry_run else ""
    for name in done.applied:
        typer.echo(f"{would}applied {name}", err=True)
    for table in done.adopted:
        typer.echo(f"{would}adopted {table}", err=True)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    undone = "Nothing was changed: this was a dry run." if done.applied else "The database is up to date."
    typer.echo(undone if dry_run else "The database is up to date.", err=True)


@cli.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for what keeps this PC's worker from working; changes nothing. Exit code 1 if something does."""
    from worker import app_doctor, views

    checks = _run(app_doctor.examine())
    is_fit = all(check.state is not app_doctor.State.FAILED for check in checks)
    if as_json:
        _print_json({"ok": is_fit, "checks": [check._asdict() for check in checks]})
    else:
        _console().print(views.checks(checks))
    if not is_fit:
        raise typer.Exit(EXIT_FAILED)


@cli.command()
def token(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it lasts.")] = 365,
    signing_key: Annotated[
        Path | None, typer.Option(help="Private key (JWK) that was imported into the project, instead of its secret.")
    ] = None,
) -> None:
    """Mint the worker token with which a PC needs no master key: for an administrator; prints nothing but the token."""
    from worker import app_tokens

    if signing_key is not None:
        minted = app_tokens.token_by_signing_key(signing_key, days=days)
    else:
        minted = app_tokens.token_by_secret(_jwt_secret(), days=days)
    signed_by = f"key {minted.key_id}" if minted.key_id else "the legacy secret"
    _console(stderr=True).print(
        f"Role {minted.role}, expires on {minted.expires_on}, signed by {signed_by} ({minted.algorithm}). "
        "Put it into the PC's .env as SUPABASE_WORKER_TOKEN, and the project's publishable key as SUPABASE_KEY."
    )
    typer.echo(minted.text)


def _jwt_secret() -> str:
    """From the settings; else asked for, and not shown."""
    from worker.config import load_settings

    secret = load_settings().supabase_jwt_secret
    if secret is not None:
        return secret.get_secret_value()
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "SUPABASE_JWT_SECRET: not set. Put the project's legacy JWT secret into .env.admin, or give --signing-key."
        )
    return str(typer.prompt("The project's legacy JWT secret (not shown)", hide_input=True, err=True)).strip()


# --- what the commands share -------------------------------------------------------------------------------------


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # a tenth of the time until --help answers

    return asyncio.run(work)


def _with_store(work: Callable[[Settings, Store], Awaitable[T]], *, with_any_key: bool = False) -> T:
    """`with_any_key`: a PC that may only run the worker may do this too."""
    from worker import app_database
    from worker.config import Need, load_settings

    settings = load_settings([Need.DATABASE if with_any_key else Need.PEOPLE])

    async def opened() -> T:
        async with app_database.opened_store(settings) as store:
            return await work(settings, store)

    return _run(opened())


def _report(answer: WriteAnswer, meeting_id: UUID, done: str, *, wanted: tuple[str, ...]) -> None:
    if answer.outcome in wanted:
        _console(stderr=True).print(answer.message or done)
    elif answer.outcome == "gone":
        _refuse(f"There is no meeting {meeting_id}. `python -m worker list` shows those there are.")
    else:
        _refuse(answer.message or f"That is not possible: {answer.outcome}.")


def _refuse(message: str) -> None:
    _console(stderr=True).print(message, style="red")
    raise typer.Exit(EXIT_FAILED)


def _complain(error: PCWorkerException) -> None:
    typer.secho(f"{error} [{error.code}]", fg="red", err=True)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
