"""How good the models are, through the unmodified whisperx: word error rate, and how far word times are off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.support.spoken_meetings import SpokenText, meetings, sensible_meeting, sentences
from tests.support.unmodified_whisperx import (
    UnmodifiedWhisperX,
    deviations_s,
    true_passages,
    word_error_rate,
    word_pairs,
    written,
)


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


def _spread(deviations: list[list[float]]) -> str:
    """By how much words are off at their worse end."""
    off_s = np.concatenate(deviations)
    half, most = np.percentile(off_s, (50, 95))
    return f"half within {half:.3f} s, 95 % within {most:.3f} s, all within {off_s.max():.3f} s"


def _speech() -> dict[str, tuple[SpokenText, ...]]:
    return {"sentences": sentences(), "meetings": meetings(), "sensible meeting": (sensible_meeting(),)}
