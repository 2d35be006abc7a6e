"""
What the small Whisper hears in training: windows with a few sentences, pauses, and often noise, made on the fly.

T encoder frames of a window are 20 ms each; its mel frames are half as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from tests.models.corpus import Part, read_corpus
from tests.models.synthesis import RATE_HZ, SpokenWord
from tests.models.vocabulary import END, ENGLISH, FULL_STOP, NO_TIMESTAMPS, START, TRANSCRIBE, sounds, token_ids

FRAMES_PER_S = 50
MAX_FRAMES = 1500
IGNORED = -100
"""Target of a position that teaches nothing, as torch's cross_entropy has it."""

_STOP_FRAMES = (-8, 12)
"""A full stop is heard around the end of its last word: the frames before and after."""


@dataclass(frozen=True)
class Window:
    """`samples`: float32, shape (num_samples,), 16 000 Hz; the words of each sentence, seconds from the first."""

    samples: npt.NDArray[np.float32]
    sentences: tuple[tuple[SpokenWord, ...], ...]


@dataclass(frozen=True)
class Batch:
    """
    B windows of T encoder frames, and sequences of L tokens.

    Attributes:
        mels: log-mel spectrogram, float32, shape (B, 80, 2 T).
        offsets: frame of a 30 s window at which the window is said to begin.
        inputs, targets: token ids, shape (B, L); targets may be IGNORED.
        spans_read, spans_written: bool, shape (B, L, T): the frames of the token at a position, and of the next one.
        sounds: class of sound per frame, shape (B, T).
    """

    mels: Tensor
    offsets: Tensor
    inputs: Tensor
    targets: Tensor
    spans_read: Tensor
    spans_written: Tensor
    sounds: Tensor


class Windows(IterableDataset[Batch]):
    """Batches without end, the same for the same seed."""

    def __init__(self, corpus: Path, *, window_s: float, batch_size: int, seed: int) -> None:
        self._corpus = corpus
        self._window_s = window_s
        self._batch_size = batch_size
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        parts = read_corpus(self._corpus)
        rng, noise = Random(self._seed), np.random.default_rng(self._seed)
        while True:
            windows = [compose(parts, self._window_s, rng, noise) for _ in range(self._batch_size)]
            yield _batch(windows, rng)


def compose(parts: Sequence[Part], window_s: float, rng: Random, noise: np.random.Generator) -> Window:
    """Sentences of any voices one after the other, as many as fit or fewer, at a level of their own."""
    samples = np.zeros(int(window_s * RATE_HZ), np.float32)
    sentences: list[tuple[SpokenWord, ...]] = []
    place = end = _samples_of(rng.choice([0, rng.uniform(0, 0.3), rng.uniform(0, 0.8)]))
    level = rng.uniform(0.15, 1.0)
    most = 99 if rng.random() < 0.6 else rng.randint(1, max(1, int(window_s / 3)))
    while len(sentences) < most:
        part = rng.choice(parts)
        said = rng.choice(part.utterances)
        if place + said.num_samples > len(samples):
            if sentences:
                break
            continue  # the first sentence has to fit: try another
        end = place + said.num_samples
        sound = part.samples[said.offset : said.offset + said.num_samples].astype(np.float32) / 32768
        samples[place:end] += sound * level * rng.uniform(0.6, 1.0)
        sentences.append(tuple(_moved(word, place / RATE_HZ) for word in said.words))
        place = end + _samples_of(rng.choice([rng.uniform(0.12, 0.5), rng.uniform(0.3, 1.5)]))
    if rng.random() < 0.6:
        heard = min(len(samples), end + _samples_of(rng.uniform(0, 0.5)))
        decibels = -rng.uniform(30, 60)
        samples[:heard] += noise.standard_normal(heard).astype(np.float32) * 10 ** (decibels / 20)
    return Window(samples=samples, sentences=tuple(sentences))


def _samples_of(seconds: float) -> int:
    return int(seconds * RATE_HZ)


def _moved(word: SpokenWord, by_s: float) -> SpokenWord:
    return SpokenWord(text=word.text, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


@dataclass(frozen=True)
class _Sequence:
    """Tokens of a window, of which the first `num_prompt` are given; frames of each token after those."""

    tokens: list[int]
    num_prompt: int
    spans: list[tuple[int, int]]


def _batch(windows: Sequence[Window], rng: Random) -> Batch:
    from whisperx.audio import log_mel_spectrogram

    num_frames = int(len(windows[0].samples) / RATE_HZ * FRAMES_PER_S)
    sequences = [_sequence(window, num_frames, rng) for window in windows]
    return Batch(
        mels=torch.stack([log_mel_spectrogram(window.samples, n_mels=80) for window in windows]),
        offsets=torch.tensor([_offset(num_frames, rng) for _ in windows]),
        sounds=torch.from_numpy(np.stack([sounds_of(window, num_frames) for window in windows])),
        **_token_tensors(sequences, num_frames),
    )


def _offset(num_frames: int, rng: Random) -> int:
    """Short windows are placed anywhere in 30 s, so that all positions are learnt early."""
    return 0 if num_frames == MAX_FRAMES or rng.random() < 0.4 else rng.randint(0, MAX_FRAMES - num_frames)


def _sequence(window: Window, num_frames: int, rng: Random) -> _Sequence:
    """Half of them without language and task, from which the model learns to name the language."""
    ids = token_ids()
    prompt = [START, NO_TIMESTAMPS] if rng.random() < 0.5 else [START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS]
    tokens, spans = [ids[token] for token in prompt], []
    for words in window.sentences:
        for word in words:
            tokens.append(ids[f" {word.text}"])
            spans.append(_frames(word, num_frames))
        last, (before, after) = spans[-1][1], _STOP_FRAMES
        tokens.append(FULL_STOP)
        spans.append((max(0, last + before), min(num_frames, last + after)))
    return _Sequence(tokens=[*tokens, ids[END]], num_prompt=len(prompt), spans=spans)


def _frames(word: SpokenWord, num_frames: int) -> tuple[int, int]:
    first = int(word.start_s * FRAMES_PER_S)
    return first, min(num_frames, max(first + 1, math.ceil(word.end_s * FRAMES_PER_S)))


def sounds_of(window: Window, num_frames: int) -> npt.NDArray[np.int64]:
    """Class of sound in each frame, shape (num_frames,)."""
    classes = np.zeros(num_frames, np.int64)
    for word in (word for words in window.sentences for word in words):
        first, last = _frames(word, num_frames)
        classes[first:last] = sounds()[word.text.lower()]
    return classes


def _token_tensors(sequences: Sequence[_Sequence], num_frames: int) -> dict[str, Any]:
    ids = token_ids()
    size, length = len(sequences), max(len(sequence.tokens) for sequence in sequences) - 1
    inputs, targets = torch.full((size, length), ids[END]), torch.full((size, length), IGNORED)
    read, written = (torch.zeros(size, length, num_frames, dtype=torch.bool) for _ in range(2))
    for row, sequence in enumerate(sequences):
        tokens, prompt = sequence.tokens, sequence.num_prompt
        inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        targets[row, prompt - 1 : len(tokens) - 1] = torch.tensor(tokens[prompt:])
        if prompt > 2:
            targets[row, 0] = ids[ENGLISH]
        for place, (first, last) in enumerate(sequence.spans, start=prompt):
            written[row, place - 1, first:last] = True
            read[row, place : place + 1, first:last] = True  # the last one may be past the end
    return {"inputs": inputs, "targets": targets, "spans_read": read, "spans_written": written}
