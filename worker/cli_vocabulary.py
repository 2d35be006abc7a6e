"""Commands for the vocabulary: names and terms that the engine is told to expect in every meeting."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from worker.cli_shared import AsJson, console, print_json, say, with_store

vocabulary = typer.Typer(
    help="Names and terms that meetings may contain: the lab's, or with --user those of one user's meetings.",
    no_args_is_help=True,
)

Words = Annotated[list[str], typer.Argument(metavar="WORD...", help="Names or terms; quote one of several words.")]
User = Annotated[UUID | None, typer.Option(help="Id of the user whose meetings they are for; the lab's if not given.")]


@vocabulary.command("list")
def list_words(user: User = None, as_json: AsJson = False) -> None:
    """Show the words, one a line, in the order in which they were added."""
    words = with_store(lambda _, store: store.words(user))
    if as_json:
        print_json({"words": list(words)})
    elif words:
        say("\n".join(words))
    else:
        console(stderr=True).print("No words. Add some with `python -m worker vocabulary add WORD...`.")


@vocabulary.command()
def add(words: Words, user: User = None) -> None:
    """Add words; meetings that begin from now on are transcribed with them."""
    added = with_store(lambda _, store: store.add_words(words, user))
    _tell(added, "Added: {}.", "All of them were there already.")


@vocabulary.command()
def remove(words: Words, user: User = None) -> None:
    """Remove words, in upper or lower case."""
    removed = with_store(lambda _, store: store.remove_words(words, user))
    _tell(removed, "Removed: {}.", "None of them was there; `python -m worker vocabulary list` shows those there are.")


def _tell(words: tuple[str, ...], done: str, nothing: str) -> None:
    console(stderr=True).print(done.format(", ".join(words)) if words else nothing)
