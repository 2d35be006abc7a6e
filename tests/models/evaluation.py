"""How good the models are, through the unmodified whisperx: word error rate, and how far word times are off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.support.spoken_meetings import SpokenText, meetings, sensible_meeting, sentences
from tests.support.unmodified_whisperx import UnmodifiedWhisperX, deviations_s, word_error_rate, word_pairs, written

_LONGEST_S = 25.0
_MARGIN_S = 0.2


def evaluate(whisper: Path, aligner: Path) -> Iterator[str]:
    """Two lines for each kind of speech: of what was heard, and of the true text aligned."""
    with TemporaryDirectory() as nltk_data:
        whisperx = UnmodifiedWhisperX(Path(nltk_data), whisper=whisper, aligner=aligner)
        for name, texts in _speech().items():
            passages = [whisperx.transcribe(text.samples) for text in texts]
            error = word_error_rate(texts, [written(each) for each in passages])
            yield f"{name}: WER {error:.1%} of {sum(len(text.words) for text in texts)} words"
            heard = [_deviations_s(whisperx, *pair) for pair in zip(texts, passages, strict=True)]
            true = [_deviations_s(whisperx, text, true_passages(text)) for text in texts]
            yield f"{name}: words heard right {_spread(heard)}; words of the true text {_spread(true)}"


def _deviations_s(whisperx: UnmodifiedWhisperX, text: SpokenText, passages: list[dict[str, Any]]) -> list[float]:
    return deviations_s(word_pairs(text, whisperx.align(passages, text.samples)))


def true_passages(text: SpokenText) -> list[dict[str, Any]]:
    """Whole sentences, together no longer than what whisperx's voice detector joins."""
    kept: list[dict[str, Any]] = []
    words = iter(text.words)
    for sentence in text.text.rstrip(".").split(". "):
        spoken = [next(words) for _ in sentence.split()]
        start_s, end_s = max(0.0, spoken[0].start_s - _MARGIN_S), min(text.duration_s, spoken[-1].end_s + _MARGIN_S)
        if kept and end_s - kept[-1]["start"] <= _LONGEST_S:
            kept[-1] |= {"end": end_s, "text": f"{kept[-1]['text']} {sentence}."}
        else:
            kept.append({"start": start_s, "end": end_s, "text": f"{sentence}."})
    return kept


def _spread(deviations: list[list[float]]) -> str:
    """By how much words are off at their worse end."""
    off_s = np.concatenate(deviations)
    half, most = np.percentile(off_s, (50, 95))
    return f"half within {half:.3f} s, 95 % within {most:.3f} s, all within {off_s.max():.3f} s"


def _speech() -> dict[str, tuple[SpokenText, ...]]:
    return {"sentences": sentences(), "meetings": meetings(), "sensible meeting": (sensible_meeting(),)}
