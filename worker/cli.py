"""
The command line: `python -m worker`. Only the cli modules print: results on stdout, everything else on stderr.

The commands stand in the order in which `--help` lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker import (
    cli_fleet,
    cli_health,
    cli_meetings,
    cli_models,
    cli_project,
    cli_speakers,
    cli_summaries,
    cli_vocabulary,
)
from worker.cli_shared import EXIT_CONFIG, EXIT_FAILED, AsJson, complain, console, print_json, run_async
from worker.exceptions import ConfigurationError, PCWorkerException, WorkerIdTakenError

cli = typer.Typer(
    name="worker",
    help="Turns meeting recordings into speaker-attributed transcripts and summaries.\n\n"
    "Settings come from the environment and from .env; .env.example explains each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class EngineName(StrEnum):
    SPHINX = "sphinx"
    WHISPERX = "whisperx"


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings."""
    try:
        cli()
    except (ConfigurationError, WorkerIdTakenError) as error:
        complain(error)
        sys.exit(EXIT_CONFIG)
    except PCWorkerException as error:
        complain(error)
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
        run_async(app.run_worker(settings, once=once, observers=[EventLog()]))


@cli.command()
def demo(
    audio: Annotated[Path | None, typer.Argument(help="A recording of your own; without it, the sample.")] = None,
    engine: Annotated[
        EngineName | None, typer.Option(help="Who transcribes; if not said, whisperx when a model of it can be had.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See it work: a real recording through a real queue, on a database of its own."""
    from worker import demo as demonstration
    from worker import views
    from worker.models import MeetingStatus
    from worker.observe.event_log import EventLog
    from worker.observe.logs import configure_logging
    from worker.progress import ProgressBars

    people = console(stderr=as_json)
    recording = demonstration.Recording(audio, audio.name) if audio else demonstration.sample()
    settings, about = run_async(demonstration.chosen(engine))
    people.print(about)
    logs = configure_logging(
        log_dir=settings.log_dir,
        level="INFO",
        format="text",
        secrets=settings.secrets(),
        worker_id=settings.worker_id or "",
        console=False,
    )
    with logs, ProgressBars(people) as bars:
        found = run_async(demonstration.run(settings, recording, [bars, EventLog()]))
    scores = run_async(demonstration.score(settings, recording, found))
    people.print()
    people.print(views.detail(found))
    if scores is not None:
        people.print(views.scores(scores))
    if as_json:
        print_json(demonstration.report(found, scores))
    if found.meeting.status is not MeetingStatus.COMPLETED:
        raise typer.Exit(EXIT_FAILED)


COMMANDS: dict[str, Callable[..., None]] = {
    "enqueue": cli_meetings.enqueue,
    "list": cli_meetings.list_meetings,
    "status": cli_project.status,
    "drain": cli_fleet.drain,
    "resume": cli_fleet.resume,
    "show": cli_meetings.show,
    "retry": cli_meetings.retry,
    "cancel": cli_meetings.cancel,
    "resummarize": cli_summaries.resummarize,
    "migrate": cli_project.migrate,
    "doctor": cli_project.doctor,
    "health": cli_health.health,
    "token": cli_project.token,
}

for name, command in COMMANDS.items():
    cli.command(name=name)(command)
cli.add_typer(cli_speakers.speakers, name="speakers")
cli.add_typer(cli_vocabulary.vocabulary, name="vocabulary")
cli.add_typer(cli_summaries.guidance, name="guidance")
cli.add_typer(cli_models.models, name="models")
