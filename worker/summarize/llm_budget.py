"""
How much text one question may hold, whatever the tokenizer.

Which tokenizer an endpoint uses is not known, and the worker has none of them. One that falls back to bytes never
makes more tokens than UTF-8 has bytes; that bound would make four parts of what fits into one. `num_tokens` is between:
it counts bytes where vocabularies are thin (small scripts, emoji), and what words take at their worst elsewhere. An
endpoint that still finds a question too long says so, and gets half of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

LETTERS_PER_TOKEN = 3
"""Of words in ASCII letters: English has four to five, German and Finnish three with a vocabulary made for English."""

_PIECE = re.compile(r" ?[A-Za-z]+|.", re.DOTALL)
_TWO_TOKENS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
"""Kana, Han, Hangul: mostly one, two or three where the vocabulary has few of them."""

LAST_LETTER = "\u052f"
"""Latin with marks, Greek and Cyrillic letters are in every vocabulary at least by themselves."""

T = TypeVar("T")


def num_tokens(text: str) -> int:
    """An upper bound for running text; digits and signs are one each, a blank before a word belongs to it."""
    return sum(_cost(piece) for piece in _PIECE.findall(text))


def _cost(piece: str) -> int:
    if piece <= LAST_LETTER:  # of more than one character only ASCII words
        return max(1, math.ceil(len(piece.strip(" ")) / LETTERS_PER_TOKEN))
    return 2 if _TWO_TOKENS.match(piece) else len(piece.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Budget:
    """How the context of one call is shared out. All in tokens."""

    context: int

    @property
    def answer(self) -> int:
        """Also what a model thinks aloud before it answers comes out of this."""
        return min(4096, self.context // 4)

    @property
    def repair(self) -> int:
        """What is kept free for the second round: the beginning of a wrong answer, and what is wrong with it."""
        return self.context // 10

    @property
    def wishes(self) -> int:
        """Guidance beyond this is left aside."""
        return self.context // 8

    def room(self, question: str) -> int:
        """What is left for data beside the rest of a question."""
        return self.context - self.answer - self.repair - num_tokens(question)


def shortened(text: str, max_tokens: int) -> str:
    """As much from its beginning as fits."""
    kept, used = 0, 0
    for piece in _PIECE.findall(text):
        used += _cost(piece)
        if used > max_tokens:
            break
        kept += len(piece)
    return text[:kept]


def packed(items: Sequence[T], costs: Sequence[int], room: int) -> list[list[T]]:
    """Runs of items that fit the room each, about equally full, in order; an item that does not fit is alone."""
    total = sum(costs)
    aim = min(room, math.ceil(total / max(1, math.ceil(total / room))) + max(costs, default=0))
    runs: list[list[T]] = []
    used = 0
    for item, cost in zip(items, costs, strict=True):
        if not runs or used + cost > aim:
            runs.append([])
            used = 0
        runs[-1].append(item)
        used += cost
    return runs
