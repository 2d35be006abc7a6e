"""What the commands share: opening the store, and speaking to people and to scripts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from worker.exceptions import PCWorkerException

if TYPE_CHECKING:
    from rich.console import Console

    from worker.config import Settings
    from worker.ports import Store

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: restarting will not help

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def run_async(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # a tenth of the time until --help answers

    return asyncio.run(work)


def with_store(work: Callable[[Settings, Store], Awaitable[T]], *, with_any_key: bool = False) -> T:
    """`with_any_key`: a PC that may only run the worker may do this too."""
    from worker import app_database
    from worker.config import Need, load_settings

    settings = load_settings([Need.DATABASE if with_any_key else Need.PEOPLE])

    async def opened() -> T:
        async with app_database.opened_store(settings) as store:
            return await work(settings, store)

    return run_async(opened())


def refuse(message: str) -> None:
    console(stderr=True).print(message, style="red")
    raise typer.Exit(EXIT_FAILED)


def complain(error: PCWorkerException) -> None:
    from worker.terminal import harmless

    typer.secho(harmless(f"{error} [{error.code}]"), fg="red", err=True)


def console(*, stderr: bool = False) -> Console:
    from worker.terminal import PlainConsole

    return PlainConsole(stderr=stderr)


def say(text: str) -> None:
    """A line, or several, on stdout: for people and for scripts."""
    from worker.terminal import harmless

    typer.echo(harmless(text))


def print_json(value: dict[str, Any]) -> None:
    say(json.dumps(value, ensure_ascii=False, indent=2))  # what is escaped here stands within a string
