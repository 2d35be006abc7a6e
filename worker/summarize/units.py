"""
A transcript as units: the pieces of text that a summary may quote, word for word.

A unit is a sentence where the engine writes full stops, otherwise a stretch between pauses, so that the rough output of
an engine without punctuation can be summarised as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.models import TranscriptSegment

MAX_UNIT_WORDS = 40
"""Longer stretches without a full stop are cut at their longest pause: a key point of more is no point. Our choice."""

MIN_UNIT_WORDS = 8
"""... but not into pieces shorter than this."""

_SENTENCE_END = re.compile("[.?!\u2026\u3002\uff1f\uff01\u0964\u061f][\"'\u201d\u2019\u00bb)\\]]*$")
_NO_SENTENCE_END = re.compile(r"^(\w|mr|mrs|ms|dr|prof|st|vs|z\.b|e\.g|i\.e|\d{1,2})\.$", re.IGNORECASE)
"""Initials, titles and ordinals: their full stop ends no sentence."""

_QUESTION_END = re.compile("[?\uff1f\u061f][\"'\u201d\u2019\u00bb)\\]]*$")
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_UNSPACED_CHAR = re.compile(f"[{UNSPACED}]")
_TERM = re.compile(
    rf"[{UNSPACED}]+|[^\s{UNSPACED}!-&(-/:-@\[-`{{-~\u00a1\u00ab\u00bb\u00bf\u2010-\u2018\u201a-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]+"
)
"""Runs of a script without spaces, or of anything but spaces and punctuation (apostrophes belong to the word)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A quotation: `text` is found in the text of segment `segment` exactly so."""

    text: str
    segment: int
    start_s: float
    speaker_label: str | None

    @property
    def is_question(self) -> bool:
        return _QUESTION_END.search(self.text) is not None


def units_of(segments: Sequence[TranscriptSegment]) -> tuple[Unit, ...]:
    """All that was said, in order, in quotable pieces. Segments without text give none."""
    return tuple(unit for segment in segments for unit in _units_of_segment(segment))


def terms_of(text: str) -> list[str]:
    """
    The terms of a text as written, in order. Scripts without spaces are cut into overlapping pairs of characters, the
    stand-in for words when no dictionary is at hand (Manning et al., Introduction to IR, 2008, section 2.2.1).
    """
    terms: list[str] = []
    for run in _TERM.findall(text):
        if _UNSPACED_CHAR.match(run):
            terms.extend(run[i : i + 2] for i in range(max(1, len(run) - 1)))
        elif run := run.strip("'\u2019"):
            terms.append(run)
    return terms


class _Placed(NamedTuple):
    """A word as written, and the character of its segment's text at which it begins."""

    text: str
    at: int
    start_s: float
    end_s: float


def _units_of_segment(segment: TranscriptSegment) -> Iterator[Unit]:
    words = _placed_words(segment)
    for sentence_first, sentence_end in _sentences(words):
        for first, end in _pieces(words, sentence_first, sentence_end):
            yield Unit(
                text=segment.text[words[first].at : words[end - 1].at + len(words[end - 1].text)],
                segment=segment.index,
                start_s=words[first].start_s,
                speaker_label=segment.speaker_label,
            )


def _placed_words(segment: TranscriptSegment) -> list[_Placed]:
    """
    The segment's words and where each begins in its text. If they are not what the text says (it was edited), the words
    of the text instead, which then all carry the segment's time.
    """
    placed: list[_Placed] = []
    at = 0
    for word in segment.words:
        written = word.text.strip()
        found = segment.text.find(written, at)
        if found < 0 or segment.text[at:found].strip():
            break
        if written:
            placed.append(_Placed(written, found, word.start_s, word.end_s))
        at = found + len(written)
    else:
        if placed and not segment.text[at:].strip():
            return placed
    return [
        _Placed(match[0], match.start(), segment.start_s, segment.end_s) for match in re.finditer(r"\S+", segment.text)
    ]


def _sentences(words: Sequence[_Placed]) -> Iterator[tuple[int, int]]:
    """Index ranges [first, end), each ending with a sentence's last word."""
    first = 0
    for i, word in enumerate(words):
        if _SENTENCE_END.search(word.text) and not _NO_SENTENCE_END.match(word.text):
            yield first, i + 1
            first = i + 1
    if first < len(words):
        yield first, len(words)


def _pieces(words: Sequence[_Placed], first: int, end: int) -> Iterator[tuple[int, int]]:
    """The same range, halved at its longest pauses until no piece is too long."""
    waiting = [(first, end)]
    while waiting:
        first, end = waiting.pop()
        if end - first <= MAX_UNIT_WORDS:
            yield first, end
            continue
        middle = (first + end) / 2
        cut = max(
            range(first + MIN_UNIT_WORDS, end - MIN_UNIT_WORDS + 1),
            key=lambda i: (words[i].start_s - words[i - 1].end_s, -abs(i - middle)),
        )
        waiting += [(cut, end), (first, cut)]
