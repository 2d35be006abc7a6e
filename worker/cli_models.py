"""`python -m worker models`: the speech models on this PC, on the hub, and in the lab's storage."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli_shared import EXIT_FAILED, AsJson, console, print_json, run_async

if TYPE_CHECKING:
    from worker.progress import NamedBars

models = typer.Typer(
    help="Speech models: what is on this PC, fetch them, check them, hand them to the lab's other PCs.",
    no_args_is_help=True,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="small, turbo ..., align-en, align-de ..., pyannote, or owner/repository; else what the settings need.",
    ),
]


@models.command(name="list")
def list_models(as_json: AsJson = False) -> None:
    """Show what the settings need and what is in MODEL_CACHE_DIR; asks nobody."""
    from worker import app_models, views_models
    from worker.config import load_settings

    found = app_models.inventory(load_settings())
    if as_json:
        print_json({"models": [asdict(model) for model in found]})
    else:
        console().print(views_models.inventory(found))


@models.command()
def pull(
    names: Names = None,
    from_lab: Annotated[
        bool, typer.Option("--from-lab", help="From the lab's own storage, where `push` put it: needs no hub.")
    ] = False,
) -> None:
    """Fetch models from their hub or from the lab; goes on where an earlier call was cut off, and repairs."""
    from worker import app_models
    from worker.config import Need, load_settings

    with _bars() as bar:
        if not from_lab:
            _say("here and whole", app_models.pull(load_settings(), names or (), bar=bar))
            return
        settings = load_settings([Need.DATABASE])
        brought, absent = run_async(app_models.pull_from_lab(settings, names or (), bar=bar))
    _say("here and whole", brought)
    if absent:
        console(stderr=True).print(
            f"The lab's storage does not have {', '.join(absent)}. On a PC that has it: `python -m worker models push "
            f"{' '.join(absent)}`.",
            style="yellow",
        )
        raise typer.Exit(EXIT_FAILED)


@models.command()
def check(names: Names = None, as_json: AsJson = False) -> None:
    """Read every file and compare its checksum. Exit code 1 if something is missing or damaged."""
    from worker import app_models, views_models
    from worker.config import load_settings

    with _bars() as bar:
        found = app_models.check(load_settings(), names or (), bar=bar)
    is_well = not any(model.problems for model in found)
    if as_json:
        print_json({"ok": is_well, "models": [asdict(model) for model in found]})
    else:
        console().print(views_models.checks(found))
    if not is_well:
        raise typer.Exit(EXIT_FAILED)


@models.command()
def push(
    names: Names = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send also what is there already, because it is damaged there.")
    ] = False,
) -> None:
    """Put models of this PC into the lab's storage, for the other PCs; needs an administrator's key."""
    from worker import app_models
    from worker.config import Need, load_settings

    with _bars() as bar:
        pushed = run_async(app_models.push(load_settings([Need.PEOPLE]), names or (), again=again, bar=bar))
    _say("in the lab's storage; on the other PCs: `python -m worker models pull --from-lab`", pushed)


def _say(what: str, names: tuple[str, ...]) -> None:
    if names:
        console(stderr=True).print(f"{', '.join(names)}: {what}.")


def _bars() -> NamedBars:
    from worker.progress import NamedBars

    return NamedBars(console(stderr=True))
