"""Which names and terms the engine is told to expect in a meeting."""

from __future__ import annotations

import re
from collections.abc import Sequence

SEPARATOR = ", "


def with_vocabulary(hotwords: str | None, words: Sequence[str]) -> str | None:
    """
    A meeting's own hotwords as they stand, and behind them the vocabulary's words that are not among them: an engine
    that keeps only so many keeps the first. Upper and lower case are the same here.

    Args:
        hotwords: what somebody wrote into the meeting's row, in any form: words between commas, lines or blanks.
        words: without commas; a word may be there twice.

    Returns None when there are none at all, and `hotwords` itself when the vocabulary adds nothing.
    """
    given = hotwords or ""
    seen = {part.strip().casefold() for part in (*re.split(r"[,;\n]", given), *given.split())}
    added = []
    for word in words:
        if word.casefold() not in seen:
            seen.add(word.casefold())
            added.append(word)
    if not added:
        return hotwords
    beginning = given.strip(" ,;\n")
    return SEPARATOR.join([beginning, *added] if beginning else added)
