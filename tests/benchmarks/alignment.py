"""
Word times: the own aligner against whisperx.align, on the same model, sound and words, in one run.

    python -m tests.benchmarks --only alignment

whisperx has as many threads within each operation as there are cores, the own aligner as many batches at once.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.benchmarks.__main__ import Row
from tests.support import tiny_speech_models as tiny
from tests.support.aligned_speech import LETTERS, Speech, base_model, by_whisperx, speech
from worker.engine.aligner_models import AlignerModel, load_aligner
from worker.engine.ctc_emissions import fitting_compute_type
from worker.engine.forced_alignment import Alphabet
from worker.engine.whisperx_library import hushed
from worker.engine.word_alignment import WordAligner

_REPEATS = 3


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, hushed():
        home = Path(folder)
        tiny.write_aligner(home / "en")
        small = load_aligner("en", cache=home, device="cpu", model=None, offline=True)
        ten_minutes, one_minute = speech(600.0), speech(60.0)
        rows = [
            _row("align 10 min, outside the forward pass", _remembered(ten_minutes), ten_minutes, home),
            _row("align 10 min, tiny model", small, ten_minutes, home),
        ]
        large = base_model()
        rows.append(_row("align 1 min, 94 M weights, float32", large, one_minute, home))
        if fitting_compute_type("auto", "cpu") == "bfloat16":
            rows.append(_row("align 1 min, 94 M weights, bfloat16", large, one_minute, home, "bfloat16"))
        return rows


def _row(name: str, model: AlignerModel, spoken: Speech, home: Path, compute_type: str = "float32") -> Row:
    num_threads = os.cpu_count() or 1
    aligner = WordAligner(
        cache=home, device="cpu", num_threads=num_threads, compute_type=compute_type, load=lambda *_, **__: model
    )
    ours, reference = [], []
    for _ in range(_REPEATS):
        ours.append(_seconds(lambda: aligner.align(spoken.words, "en", spoken.samples, _nobody, spoken.passages), 1))
        reference.append(_seconds(lambda: by_whisperx(spoken, model, "en", home / "nltk_data"), num_threads))
    mine, theirs = statistics.median(ours), statistics.median(reference)
    return Row(name=name, ours=mine, reference=theirs, ratio=theirs / mine, unit="s")


def _seconds(work: Callable[[], object], num_torch_threads: int) -> float:
    torch.set_num_threads(num_torch_threads)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _nobody(_progress: float) -> None:
    """Nobody watches."""


def _remembered(spoken: Speech) -> AlignerModel:
    """A model that answers at once: what was heard is known beforehand, by the length of the sound."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, len(LETTERS), generator=generator) * 3
    lengths = {int(one.end_s * 16_000) - int(one.start_s * 16_000) for one in spoken.passages}
    known = {length: noise[: length // 320][None] for length in lengths}

    class Remembered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, sound: torch.Tensor) -> Any:
            return SimpleNamespace(logits=known[sound.shape[-1]])

    return AlignerModel("remembered", Remembered(), Alphabet({label: i for i, label in enumerate(LETTERS)}, blank=0))
