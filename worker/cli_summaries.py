"""Commands for summaries: write them anew, and say what they should be like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli_shared import EXIT_FAILED, AsJson, console, print_json, refuse, say, with_store

if TYPE_CHECKING:
    from worker.app_summaries import Outcome, Resummarizer
    from worker.config import Settings
    from worker.ports import Store

guidance = typer.Typer(
    help="What a language model is told about summaries: for all meetings, or with --user for those of one user.",
    no_args_is_help=True,
)

User = Annotated[UUID | None, typer.Option(help="Id of the user whose meetings it is for; the lab's if not given.")]
NONE_SET = "Nothing is set. Set something with `python -m worker guidance set TEXT`."


def resummarize(
    meeting_ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID...]", help="Completed meetings.")] = None,
    all_extractive: Annotated[
        bool, typer.Option("--all-extractive", help="All that no language model has summarized, oldest first.")
    ] = False,
    replace_edits: Annotated[
        bool, typer.Option("--replace-edits", help="Also when somebody corrected the summary; it is kept as a version.")
    ] = False,
    extractive: Annotated[
        bool, typer.Option("--extractive", help="Pick sentences of the transcript, without a language model.")
    ] = False,
) -> None:
    """Write the summaries of completed meetings anew, on this PC and with its SUMMARY_ settings."""
    if bool(meeting_ids) == all_extractive:
        raise typer.BadParameter("Name meetings by their ids, or all of them with --all-extractive.")
    if all_extractive and extractive:
        raise typer.BadParameter("--all-extractive is for a language model; leave --extractive away.")

    async def work(settings: Settings, store: Store) -> bool:
        from worker import app_summaries

        opened = app_summaries.resummarizer(settings, store, extractive=extractive, replace_edits=replace_edits)
        async with opened as writer:
            return await (_all_of_them(writer) if all_extractive else _these(writer, meeting_ids or []))

    if not with_store(work):
        raise typer.Exit(EXIT_FAILED)


async def _these(writer: Resummarizer, meeting_ids: list[UUID]) -> bool:
    """True when all are done."""
    outcomes = []
    for meeting_id in meeting_ids:
        outcomes.append(await writer.resummarize(meeting_id))
        _tell(outcomes[-1])
    return all(outcome.is_done for outcome in outcomes)


async def _all_of_them(writer: Resummarizer) -> bool:
    num_done = num_others = 0
    async for outcome in writer.backlog():
        _tell(outcome)
        num_done += outcome.is_done
        num_others += not outcome.is_done
    again = " The same command goes on where this one ended." if num_others else ""
    console(stderr=True).print(f"{num_done} summaries are new, {num_others} are not.{again}")
    return num_others == 0


def _tell(outcome: Outcome) -> None:
    say(f"{outcome.meeting_id}  {outcome.sentence}")


@guidance.command()
def show(user: User = None, as_json: AsJson = False) -> None:
    """Show what is set."""
    text = with_store(lambda _, store: store.own_guidance(user))
    if as_json:
        print_json({"guidance": text})
    elif text is None:
        console(stderr=True).print(NONE_SET)
    else:
        say(text)


@guidance.command("set")
def set_text(
    text: Annotated[str | None, typer.Argument(help="In any language, up to 4000 characters.")] = None,
    file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Read it from this file.")] = None,
    user: User = None,
) -> None:
    """Say what summaries should be like; it holds for those that are written from now on."""
    if (text is None) == (file is None):
        raise typer.BadParameter("Give the text, or a file with --file.")
    wanted = text if file is None else _read(file)
    if not (wanted or "").strip():
        raise typer.BadParameter("That is empty. `python -m worker guidance clear` takes the guidance away.")
    answer = with_store(lambda _, store: store.set_guidance(wanted, user))
    if answer.outcome not in ("done", "already_done"):
        refuse(answer.message or f"That is not possible: {answer.outcome}.")
    console(stderr=True).print("Summaries are written by it from now on.")


@guidance.command()
def clear(user: User = None) -> None:
    """Take the guidance away."""
    answer = with_store(lambda _, store: store.set_guidance(None, user))
    console(stderr=True).print("It is gone." if answer.outcome == "done" else "Nothing was set.")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter("That file cannot be read as UTF-8 text.") from None
