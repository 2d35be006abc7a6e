"""
What speaks against a passage of text, and which of two texts is to be believed. Pure.

WhisperX decodes in batches, with none of the checks that Whisper makes after each passage; they are made up for here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate

from worker.engine.passages import written_words
from worker.models import Passage, ResultWarning, Stage

LOW_CONFIDENCE, REPETITION, OVER_SILENCE = "low_confidence", "repetition", "over_silence"

_LOG_PROB_THRESHOLD = -1.0
"""Mean log-probability of a token. Source: Whisper's and faster-whisper's `log_prob_threshold`."""

_COMPRESSION_RATIO_THRESHOLD = 2.4
"""Of a text's bytes by zlib. Source: Whisper's and faster-whisper's `compression_ratio_threshold`."""

_MIN_REPEATS, _MIN_LOOP_WORDS, _MAX_PERIOD = 4, 8, 12
"""The same up to 12 words, four times on end and eight words long in all: "no, no, no, no" is speech, this is a loop.
It finds loops at the end of a long sensible passage, which the compression ratio of the whole does not show."""

_MAX_CHARACTERS_PER_S = 35.0
"""Of speech. Fast talkers reach about 20 to 25 (six words of four letters in a second); whoever writes more than this
writes what nobody said."""

_GRACE_CHARACTERS = 5
"""So that a "Yes." that the voice detector heard only the core of is no doubt."""

_DOUBTFUL_SHARE = 0.2
"""Of the transcribed time. Above it a reader should know before reading."""


def assessed(
    *, start_s: float, end_s: float, text: str, avg_logprob: float, speech_s: float, decoding: str = "batched"
) -> Passage:
    """A passage with its figures and doubts. Without text there is nothing to doubt."""
    text = text.strip()
    ratio = compression_ratio(text)
    doubts = {
        LOW_CONFIDENCE: not avg_logprob >= _LOG_PROB_THRESHOLD,  # also when it is no number
        REPETITION: ratio > _COMPRESSION_RATIO_THRESHOLD or is_loop(list(written_words(text))),
        OVER_SILENCE: len(text) - _GRACE_CHARACTERS > _MAX_CHARACTERS_PER_S * speech_s,
    }
    return Passage(
        start_s=start_s,
        end_s=end_s,
        text=text,
        avg_logprob=round(avg_logprob, 4) if math.isfinite(avg_logprob) else None,
        compression_ratio=round(ratio, 3),
        speech_s=round(speech_s, 3),
        doubts=tuple(doubt for doubt, holds in doubts.items() if holds and text),
        decoding=decoding,
    )


def compression_ratio(text: str) -> float:
    """As faster_whisper.transcribe.get_compression_ratio."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def is_loop(words: Sequence[str]) -> bool:
    """Whether the same few words follow each other again and again, somewhere in the text."""
    plain = [word.strip(".,;:!?…。、-").lower() for word in words]
    for period in range(1, min(_MAX_PERIOD, len(plain) // _MIN_REPEATS) + 1):
        same = (a == b for a, b in zip(plain, plain[period:], strict=False))
        longest = max(accumulate(same, lambda run, is_same: run + 1 if is_same else 0, initial=0))
        if longest + period >= max(_MIN_LOOP_WORDS, _MIN_REPEATS * period):
            return True
    return False


def better(first: Passage, second: Passage) -> Passage:
    """
    Whichever has fewer doubts, and of equals the more probable one; with what the other wrote. Of two that repeat
    themselves it is the one that does so less: loops are probable to the model that is caught in one.

    No text at all is believed only where something else than low confidence speaks against the first: to leave out what
    somebody mumbled is worse than to write it down with a doubt.
    """
    is_empty_right = bool(set(first.doubts) - {LOW_CONFIDENCE})
    wins = _weight(second) < _weight(first) if second.text else is_empty_right
    chosen, other = (second, first) if wins else (first, second)
    return chosen.model_copy(update={"other_text": other.text})


def _weight(passage: Passage) -> tuple[int, float, float]:
    ratio = (passage.compression_ratio or 0.0) if REPETITION in passage.doubts else 0.0
    return len(passage.doubts), ratio, math.inf if passage.avg_logprob is None else -passage.avg_logprob


def most_doubtful_first(passages: Iterable[Passage]) -> list[Passage]:
    """Those with a doubt."""
    return sorted((p for p in passages if p.doubts), key=_weight, reverse=True)


def transcript_doubtful(passages: Sequence[Passage]) -> ResultWarning | None:
    """When more than a fifth of the transcribed time is doubtful."""
    whole_s = sum(passage.end_s - passage.start_s for passage in passages)
    doubtful_s = sum(passage.end_s - passage.start_s for passage in passages if passage.doubts)
    if doubtful_s <= _DOUBTFUL_SHARE * whole_s:
        return None
    return ResultWarning(
        code="transcript_doubtful",
        message=f"{doubtful_s / whole_s:.0%} of the text is doubtful: improbable words, repetitions, or text where "
        "hardly anybody speaks. Check it against the recording.",
        stage=Stage.TRANSCRIBE,
    )
