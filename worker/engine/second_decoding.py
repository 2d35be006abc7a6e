"""
Doubtful passages once more, one by one, on faster-whisper's own sequential path.

There Whisper hears its own mistakes: where a text repeats itself or is improbable it tries again with other
temperatures, and it may say that nobody speaks. Slow (several times the batched path), so for few passages.
Temperatures draw at random, so that such a passage may read otherwise the next time (CTranslate2 reads its seed only
once per thread).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from worker.engine.heard_speech import HeardSpeech
from worker.engine.hints import Hints
from worker.engine.passage_doubts import OVER_SILENCE, assessed, better, most_doubtful_first
from worker.engine.recording import RATE_HZ
from worker.engine.whisperx_library import LIBRARY_ERRORS, is_gpu_lost
from worker.models import Passage
from worker.ports import Report

_MAX_PASSAGES = 64
_MAX_SHARE = 0.2
"""Of the recording's length; what is beyond keeps its doubts."""

_MIN_BUDGET_S = 120.0
"""A few passages even of a short recording."""

_SILENCE_S = 2.0
"""`hallucination_silence_threshold`: silence of this length beside an improbable text takes the text with it. Our own
choice (the libraries have no default): longer than the pauses between sentences."""


def decoded_again(
    passages: Sequence[Passage],
    whisper: Any,
    samples: Any,
    heard: HeardSpeech,
    *,
    language: str,
    hints: Hints,
    report: Report,
) -> tuple[Passage, ...]:
    """
    The same passages; the most doubtful ones have been decoded twice, and say which text was kept.

    When it fails, for want of memory say, the first texts stay with their doubts: only a GPU that is lost for this
    process raises.

    Args:
        whisper: a faster_whisper.WhisperModel.
        samples: float32 in [-1, 1], shape (num_samples,), 16 000 Hz; slices are taken.
    """
    chosen = {passage.start_s: passage for passage in passages}
    doubtful = list(_within_budget(most_doubtful_first(passages), len(samples) / RATE_HZ))
    for number, passage in enumerate(doubtful, start=1):
        try:
            second = _decoded(passage, whisper, samples, heard, language, hints)
        except LIBRARY_ERRORS as error:
            if is_gpu_lost(error):
                raise
            break
        chosen[passage.start_s] = better(passage, second)
        report(number / len(doubtful))
    report(1.0)
    return tuple(chosen.values())


def _within_budget(passages: Sequence[Passage], audio_s: float) -> Iterator[Passage]:
    left_s = max(_MIN_BUDGET_S, _MAX_SHARE * audio_s)
    for passage in passages[:_MAX_PASSAGES]:
        left_s -= passage.end_s - passage.start_s
        if left_s < 0:
            return
        yield passage


def _decoded(passage: Passage, whisper: Any, samples: Any, heard: HeardSpeech, language: str, hints: Hints) -> Passage:
    is_over_silence = OVER_SILENCE in passage.doubts
    segments, _ = whisper.transcribe(
        samples[int(passage.start_s * RATE_HZ) : int(passage.end_s * RATE_HZ)],
        language=language,
        condition_on_previous_text=False,  # one loop must not start the next
        initial_prompt=hints.prompt,
        hotwords=hints.hotwords,
        word_timestamps=is_over_silence,  # they cost time, and only silence is measured with them
        hallucination_silence_threshold=_SILENCE_S if is_over_silence else None,
    )
    found = list(segments)
    return assessed(
        start_s=passage.start_s,
        end_s=passage.end_s,
        text="".join(segment.text for segment in found),
        avg_logprob=_mean_logprob(found),
        speech_s=heard.between(passage.start_s, passage.end_s),
        decoding="sequential",
    )


def _mean_logprob(segments: Sequence[Any]) -> float:
    """Of a token; the segments of one window share its figure."""
    num_tokens = sum(len(segment.tokens) for segment in segments)
    if not num_tokens:
        return math.nan
    return float(sum(segment.avg_logprob * len(segment.tokens) for segment in segments) / num_tokens)
