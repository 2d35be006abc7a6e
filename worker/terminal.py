"""
What other people wrote, on somebody's terminal.

A title, a name, a transcript or a file's name may hold whatever its author liked: sequences that clear the screen,
change the window's title or write the clipboard, letters that run backwards, line ends that look like another row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0, DEL, C1 (a terminal may take U+009B for an escape), line separators, marks that turn the direction of what
follows, and halves of characters, which cannot be written at all."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def harmless(text: str, *, kept: str = "\n") -> str:
    """With escapes, as JSON has them, for each character that would act on a terminal; those in `kept` stay."""
    return _ACTS.sub(lambda found: found[0] if found[0] in kept else _escape(found[0]), text)


def _escape(character: str) -> str:
    return _NAMED.get(character) or f"\\u{ord(character):04x}"


def line(text: str | None, style: str = "") -> Text:
    """For what has one line, such as a title: it cannot begin a second one."""
    return Text(harmless(text or "", kept=""), style=style)


class PlainConsole(Console):
    """A console on which text is only text, whoever wrote it: no markup, no emoji codes, no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
