"""How good the models are, through the unmodified whisperx: word error rate, and how far word times are off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from tests.support.spoken_meetings import SpokenText, meetings, sensible_meeting, sentences


@dataclass(frozen=True)
class Deviation:
    """Seconds by which starts and ends are off, absolute: of half of them, of 95 in 100, of the worst."""

    median_s: float
    most_s: float
    worst_s: float


def evaluate_whisper(folder: Path) -> Iterator[str]:
    """A line per kind of speech."""
    whisperx: Any = import_module("whisperx")
    pipeline = whisperx.load_model(
        str(folder), device="cpu", compute_type="int8", local_files_only=True, language="en", vad_method="pyannote"
    )
    for name, texts in _speech().items():
        heard = [_plain(" ".join(s["text"] for s in _transcribed(pipeline, text))) for text in texts]
        error = jiwer.wer([_plain(text.text) for text in texts], heard)
        yield f"{name}: WER {error:.1%} of {sum(len(text.words) for text in texts)} words"


def _transcribed(pipeline: Any, text: SpokenText) -> Any:
    return pipeline.transcribe(text.samples, batch_size=4)["segments"]


def evaluate_aligner(folder: Path) -> Iterator[str]:
    """The true text, in segments of up to 30 s, aligned: a line per kind of speech."""
    aligner = load_aligner(folder)
    for name, texts in _speech().items():
        deviation = deviation_of([pair for text in texts for pair in aligned_pairs(aligner, text)])
        yield (
            f"{name}: half within {deviation.median_s:.3f} s, 95 % within {deviation.most_s:.3f} s, "
            f"worst {deviation.worst_s:.3f} s"
        )


def load_aligner(folder: Path) -> tuple[Any, Any]:
    alignment: Any = import_module("whisperx.alignment")
    aligner: tuple[Any, Any] = alignment.load_align_model("en", "cpu", model_name=str(folder), model_cache_only=True)
    return aligner


def aligned_pairs(aligner: tuple[Any, Any], text: SpokenText) -> list[tuple[float, float]]:
    """(true, found) of every start and every end."""
    alignment: Any = import_module("whisperx.alignment")
    found = alignment.align(passages(text), *aligner, text.samples, "cpu")["word_segments"]
    return [
        pair
        for true, word in zip(text.words, found, strict=True)
        for pair in ((true.start_s, word["start"]), (true.end_s, word["end"]))
    ]


def passages(text: SpokenText, longest_s: float = 25.0, margin_s: float = 0.2) -> list[dict[str, Any]]:
    """Whole sentences, together not much longer than what whisperx's voice detector joins."""
    kept: list[dict[str, Any]] = []
    words = iter(text.words)
    for sentence in text.text.split(". "):
        spoken = [next(words) for _ in sentence.split()]
        first_s, last_s = max(0.0, spoken[0].start_s - margin_s), min(text.duration_s, spoken[-1].end_s + margin_s)
        written = f"{sentence.rstrip('.')}."
        if kept and last_s - kept[-1]["start"] <= longest_s:
            kept[-1] = {"start": kept[-1]["start"], "end": last_s, "text": f"{kept[-1]['text']} {written}"}
        else:
            kept.append({"start": first_s, "end": last_s, "text": written})
    return kept


def deviation_of(pairs: Sequence[tuple[float, float]]) -> Deviation:
    off_s = np.abs(np.subtract(*np.transpose(pairs)))
    return Deviation(float(np.median(off_s)), float(np.percentile(off_s, 95)), float(off_s.max()))


def _speech() -> dict[str, tuple[SpokenText, ...]]:
    return {"sentences": sentences(), "meetings": meetings(), "sensible meeting": (sensible_meeting(),)}


def _plain(text: str) -> str:
    return " ".join(text.lower().replace(".", " ").split())
