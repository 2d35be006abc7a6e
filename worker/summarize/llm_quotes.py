"""
What was said, so that a quotation can be looked up in it.

Both are compared as words: case, punctuation and white space do not count, nor where one segment ends and the next
begins. Scripts without spaces are compared by character.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence

from worker.models import TranscriptSegment
from worker.summarize.units import UNSPACED

MIN_QUOTE_WORDS = 3
"""Shorter ones are found anywhere and prove nothing, unless they are all of a segment. Our choice."""

MAX_OCCURRENCES = 1000
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_ELLIPSIS = re.compile(r"\.{3,}|\u2026|\[\.*\]")


def words_of(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Spoken:
    """The words of a transcript, in order."""

    def __init__(self, segments: Sequence[TranscriptSegment]) -> None:
        self.starts_s = {segment.index: segment.start_s for segment in segments}
        words = [(word, segment.index) for segment in segments for word in words_of(segment.text)]
        self._segments = [index for _, index in words]
        self._starts: list[int] = []
        at = 1
        for word, _ in words:
            self._starts.append(at)
            at += len(word) + 1
        self._text = f" {' '.join(word for word, _ in words)} "
        self._whole = {" ".join(words_of(segment.text)) for segment in segments}

    def has(self, text: str) -> bool:
        """Whether these words were said, in this order; of no words it is not."""
        return next(self._found(words_of(text)), None) is not None

    def prove(self, quote: str, cited: Collection[int]) -> tuple[int, ...] | None:
        """
        The segments where a quotation stands, rather where it is cited than elsewhere; None where it was never said.

        An ellipsis stands for words left out: each piece must have been said, and the first one counts.
        """
        pieces = [words for piece in _ELLIPSIS.split(quote) if (words := words_of(piece))]
        if not pieces or not all(self._is_telling(words) for words in pieces):
            return None
        places = [self._nearest(words, cited) for words in pieces]
        return None if None in places else places[0]

    def _is_telling(self, words: list[str]) -> bool:
        return len(words) >= MIN_QUOTE_WORDS or " ".join(words) in self._whole

    def _nearest(self, words: list[str], cited: Collection[int]) -> tuple[int, ...] | None:
        first = None
        for number, place in enumerate(self._found(words)):
            if not set(place).isdisjoint(cited):
                return place
            first = first or place
            if number == MAX_OCCURRENCES:
                break
        return first

    def _found(self, words: list[str]) -> Iterator[tuple[int, ...]]:
        """Where these words follow each other: the segments, for each occurrence."""
        needle = f" {' '.join(words)} "
        at = self._text.find(needle) if words else -1
        while at >= 0:
            first = bisect_right(self._starts, at + 1) - 1
            yield tuple(dict.fromkeys(self._segments[first : first + len(words)]))
            at = self._text.find(needle, at + 1)
