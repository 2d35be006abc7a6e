"""
Passages of text and the words in them: how a passage's time is shared out, and how exact times come back to the words.

A passage is what WhisperX writes in one go, up to 30 s between two cuts of its voice detector. A Transcript holds words
only, so passages are kept in their times: words of one passage touch, the last one ends STEP_S before its passage does.
Where words do not touch, another passage begins.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from worker.models import Word

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


def passages_of(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """The words of one passage at a time, none of them longer than MAX_PASSAGE_S (unless one word is)."""
    first = 0
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if word.start_s != before.end_s or word.end_s - words[first].start_s > MAX_PASSAGE_S:
            yield tuple(words[first:index])
            first = index
    if words:
        yield tuple(words[first:])


def by_word(characters: Sequence[dict[str, Any]], words: Sequence[Word]) -> list[dict[str, Any]]:
    """
    What an aligner that takes every character for a word (Japanese, Chinese) found, put together to our words.

    When it counts other characters than the words have, its answer is returned as it is.
    """
    if [found["word"] for found in characters] != [char for word in words for char in word.text]:
        return list(characters)
    edges = accumulate((len(word.text) for word in words), initial=0)
    return [_joined(characters[first:end]) for first, end in pairwise(edges)]


def _joined(characters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    timed = [found for found in characters if found.get("start") is not None and found.get("end") is not None]
    scores = [float(found["score"]) for found in timed if found.get("score") is not None]
    word: dict[str, Any] = {"word": "".join(found["word"] for found in characters)}
    if timed:
        word |= {"start": timed[0]["start"], "end": timed[-1]["end"]}
    return word | ({"score": sum(scores) / len(scores)} if scores else {})


def with_times(words: Sequence[Word], found: Sequence[dict[str, Any]]) -> tuple[Word, ...] | None:
    """
    The words with the aligner's times and scores; what it could not time keeps its estimate.

    None when it counts other words than these: none must get another's time.

    Args:
        found: `word`, and mostly `start`, `end` (seconds) and `score` (in [0, 1]), as whisperx.align gives them.
    """
    if [answer["word"] for answer in found] != [word.text for word in words]:
        return None
    return tuple(_with_time(word, answer) for word, answer in zip(words, found, strict=True))


def _with_time(word: Word, found: dict[str, Any]) -> Word:
    start_s, end_s, score = found.get("start"), found.get("end"), found.get("score")
    if start_s is None or end_s is None or not (math.isfinite(start_s) and math.isfinite(end_s)):
        return word
    confidence = word.confidence if score is None or math.isnan(score) else round(min(1.0, max(0.0, float(score))), 4)
    return Word(text=word.text, start_s=round(float(start_s), 3), end_s=round(float(end_s), 3), confidence=confidence)


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
