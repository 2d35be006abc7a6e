"""
Passages of text and the words in them: how a passage's time is shared out, and which words lie in which passage.

A passage is what WhisperX writes in one go, up to 30 s between two cuts of its voice detector. Where a Transcript has
no list of them, they are kept in the words' times: words of one passage touch, the last one ends STEP_S before its
passage does. Where words do not touch, another passage begins.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any

from worker.models import Passage, Word

STEP_S = 0.001
"""Times are given in milliseconds."""

MAX_PASSAGE_S = 35.0
"""The longest piece for the aligner, whose memory grows with the square. The voice detector cuts at 30 s and a bit."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Thai, Lao, Burmese, Khmer, kana, Han and their punctuation: scripts that put no space between words."""


def written_words(text: str) -> Iterator[str]:
    """
    The words of a text. Where a script puts no space between them, each character is one, with its marks and the
    punctuation that closes it: one word per passage would leave nothing to be given to different speakers.
    """
    for chunk in text.split():
        first = 0
        for i in range(1, len(chunk)):
            if _parts(chunk[i - 1], chunk[i]):
                yield chunk[first:i]
                first = i
        yield chunk[first:]


def _parts(before: str, char: str) -> bool:
    if not (_UNSPACED.match(before) or _UNSPACED.match(char)):
        return False
    is_attached = unicodedata.category(char) in ("Mn", "Mc", "Me", "Pc", "Pd", "Pe", "Pf", "Po")
    return not is_attached and unicodedata.category(before) not in ("Ps", "Pi")


def words_of(passage: dict[str, Any]) -> Iterator[Word]:
    """
    A passage's words, of equal confidence; its time is shared out by their numbers of characters.

    Args:
        passage: `text`, `start` and `end` in seconds, and `avg_logprob` (mean log-probability of a token), as
            whisperx.transcribe gives them.
    """
    texts = list(written_words(str(passage["text"])))
    edges = list(accumulate(map(len, texts), initial=0))
    start_s, end_s = float(passage["start"]), float(passage["end"])
    times_s = [round(start_s + max(0.0, end_s - start_s) * edge / edges[-1], 3) for edge in edges if edges[-1]]
    confidence = _probability(passage.get("avg_logprob"))
    for i, text in enumerate(texts):
        is_last = i == len(texts) - 1
        word_end_s = max(times_s[i], round(times_s[i + 1] - STEP_S, 3)) if is_last else times_s[i + 1]
        yield Word(text=text, start_s=times_s[i], end_s=word_end_s, confidence=confidence)


def _probability(avg_logprob: float | None) -> float | None:
    if avg_logprob is None or math.isnan(avg_logprob):
        return None
    return round(min(1.0, math.exp(avg_logprob)), 4)


@dataclass(frozen=True)
class Stretch:
    """Consecutive words of one passage, and the time that they lie in."""

    words: tuple[Word, ...]
    start_s: float
    end_s: float


def stretches_of(words: Sequence[Word], passages: Sequence[Passage] = ()) -> Iterator[Stretch]:
    """
    The words of one passage at a time, none longer than MAX_PASSAGE_S (unless one word is).

    A word belongs to the last passage that begins before the word's middle. Without passages it is told from the words
    themselves: those of one passage touch.
    """
    if not passages:
        for touching in passages_of(words):
            yield Stretch(touching, touching[0].start_s, touching[-1].end_s)
        return
    starts_s = [passage.start_s for passage in passages]
    for number, group in groupby(words, lambda word: max(0, bisect(starts_s, (word.start_s + word.end_s) / 2) - 1)):
        yield from _cut(tuple(group), passages[number])


def _cut(words: tuple[Word, ...], passage: Passage) -> Iterator[Stretch]:
    start_s, end_s = min(passage.start_s, words[0].start_s), max(passage.end_s, words[-1].end_s)
    if end_s - start_s <= MAX_PASSAGE_S:
        yield Stretch(words, start_s, end_s)
        return
    first = 0
    for index, word in enumerate(words[1:], start=1):
        if word.end_s - words[first].start_s > MAX_PASSAGE_S:
            yield Stretch(words[first:index], words[first].start_s, words[index - 1].end_s)
            first = index
    yield Stretch(words[first:], words[first].start_s, words[-1].end_s)


def passages_of(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """The words of one passage at a time, none of them longer than MAX_PASSAGE_S (unless one word is)."""
    first = 0
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if word.start_s != before.end_s or word.end_s - words[first].start_s > MAX_PASSAGE_S:
            yield tuple(words[first:index])
            first = index
    if words:
        yield tuple(words[first:])


def in_order(words: Sequence[Word], duration_s: float) -> tuple[Word, ...]:
    """
    The words inside the recording, each beginning no earlier than the one before it begins or ends.

    Exact times stand; where an estimate does not fit between them, it gives way and may end up without length.
    """
    last_s = math.floor(duration_s * 1000) / 1000
    starts_s = list(accumulate((min(max(0.0, word.start_s), last_s) for word in words), max))
    placed = []
    for word, start_s, next_s in zip(words, starts_s, [*starts_s, last_s][1:], strict=True):
        end_s = min(max(word.end_s, start_s), next_s)
        placed.append(word.model_copy(update={"start_s": start_s, "end_s": end_s}))
    return tuple(placed)
