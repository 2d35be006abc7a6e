"""
Training of the small Whisper, in five phases; each begins with the weights of the one before and leaves a checkpoint.

Short windows teach it what words sound like, whole ones (30 s, as WhisperX sends them) where to listen next. Two aids
make it quick: the encoder is asked for the word in each frame, and two heads of each decoder layer are told where to
listen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.models.vocabulary import sounds
from tests.models.whisper_model import decode, encode, new_whisper
from tests.models.windows import IGNORED, Batch, Windows

_SOUND_WEIGHT = 0.5
_NUM_GUIDED_HEADS = 2
_STEPS_PER_LINE = 50
_STEPS_PER_CHECKPOINT = 200


@dataclass(frozen=True)
class Mix:
    """Batches of so many windows, of so many seconds."""

    window_s: float
    batch_size: int


@dataclass(frozen=True)
class Phase:
    """
    Steps alternate between the mixes. The rate rises for `num_warm_up` steps and falls along half a cosine.

    `guidance` is the weight of the loss that tells heads where to listen; `seed` is that of windows and noise.
    """

    name: str
    mixes: tuple[Mix, ...]
    num_steps: int
    rates: tuple[float, float]
    guidance: float
    num_warm_up: int
    seed: int


WHOLE, SHORT = Mix(30, 6), Mix(10, 14)
PHASES = (
    Phase("a", (Mix(8, 16),), 1100, (0.002, 0.0006), 0.3, 60, 100),
    Phase("b", (WHOLE,), 550, (0.0006, 0.00003), 0.3, 30, 200),
    Phase("c", (WHOLE, SHORT), 800, (0.001, 0.00003), 0.3, 30, 300),
    Phase("d", (WHOLE, WHOLE, SHORT), 900, (0.001, 0.00001), 0.3, 30, 400),
    Phase("e", (WHOLE, WHOLE, SHORT), 800, (0.001, 0.00001), 0.3, 30, 600),
)


class Learner(nn.Module):
    """The Whisper, and what names the word in each encoder frame; only training has that."""

    def __init__(self) -> None:
        super().__init__()
        self.whisper: Any = new_whisper()
        self.namer = nn.Linear(self.whisper.config.d_model, len(sounds()) + 1)


@dataclass(frozen=True)
class Losses:
    """Of one batch: next token, word per frame, listening to the token read and to the one to be written."""

    token: Tensor
    sound: Tensor
    reading: Tensor
    writing: Tensor

    def total(self, guidance: float) -> Tensor:
        return self.token + _SOUND_WEIGHT * self.sound + guidance * (self.reading + self.writing)

    def line(self) -> str:
        values = (self.token, self.sound, self.reading, self.writing)
        names = ("token", "sound", "reading", "writing")
        return " ".join(f"{name} {value.item():.3f}" for name, value in zip(names, values, strict=True))


def train(corpus: Path, checkpoints: Path, phases: Sequence[Phase] = PHASES) -> None:
    """Phases whose checkpoint is there are left out: training goes on where it was ended."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    learner = Learner()
    for phase in phases:
        done = checkpoints / f"{phase.name}.pt"
        if done.exists():
            learner.load_state_dict(torch.load(done))
            continue
        _run_phase(learner, phase, corpus, checkpoints)
        torch.save(learner.state_dict(), done)


def _run_phase(learner: Learner, phase: Phase, corpus: Path, checkpoints: Path) -> None:
    learned = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=phase.rates[0], betas=(0.9, 0.98), weight_decay=0.01)
    batches = _batches(phase, corpus)
    began = time.monotonic()
    for step in range(phase.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(phase, step)
        with torch.autocast("cpu", torch.bfloat16):
            losses = _losses(learner, next(batches))
        total: Any = losses.total(phase.guidance)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if (step + 1) % _STEPS_PER_LINE == 0:
            step_s = (time.monotonic() - began) / (step + 1)
            print(f"phase {phase.name} step {step + 1} {losses.line()} {step_s:.2f} s/step", flush=True)
        if (step + 1) % _STEPS_PER_CHECKPOINT == 0:
            torch.save(learner.state_dict(), checkpoints / "latest.pt")


def _batches(phase: Phase, corpus: Path) -> Iterator[Batch]:
    """One process per mix: the order of batches is always the same."""
    loaders = []
    for number, mix in enumerate(phase.mixes):
        windows = Windows(corpus, window_s=mix.window_s, batch_size=mix.batch_size, seed=phase.seed + number)
        loaders.append(iter(DataLoader(windows, batch_size=None, num_workers=1, prefetch_factor=3)))
    for loader in cycle(loaders):
        yield next(loader)


def _rate(phase: Phase, step: int) -> float:
    first, last = phase.rates
    falling = last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / phase.num_steps))
    return falling * min(1.0, (step + 1) / phase.num_warm_up)


def _losses(learner: Learner, batch: Batch) -> Losses:
    encoded = encode(learner.whisper, batch.mels, batch.offsets)
    named = learner.namer(encoded).float().transpose(1, 2)
    scores, weights = decode(learner.whisper, batch.inputs, encoded)
    return Losses(
        token=functional.cross_entropy(scores.transpose(1, 2), batch.targets, ignore_index=IGNORED),
        sound=functional.cross_entropy(named, batch.sounds),
        reading=_elsewhere(weights[0], batch.spans_read),
        writing=_elsewhere(weights[-1], batch.spans_written),
    )


def _elsewhere(weights: Tensor, spans: Tensor) -> Tensor:
    """How little the guided heads attend to the frames they should. weights: (B, H, L, T); spans: (B, L, T)."""
    is_guided = spans.any(-1)
    hit = (weights[:, :_NUM_GUIDED_HEADS] * spans[:, None]).sum(-1)
    missed = -(hit + 1e-3).log() * is_guided[:, None]
    return missed.sum() / (is_guided.sum() * _NUM_GUIDED_HEADS)
