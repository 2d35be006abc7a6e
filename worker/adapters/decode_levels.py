"""How loud both channels of a stereo recording are, in frames of 20 ms: what is kept of them while it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.adapters.decode_measures import FRAMES_PER_S, QUIETEST_DB
from worker.adapters.decode_mono import Samples

Levels = NDArray[np.float32]
"""Decibels below full scale as negative numbers, shape (num_frames, 2 channels)."""

_CODE_0_DB = 32
"""The first printable character."""


_ENOUGH_HZ = 8_000
"""So many samples per second are measured, evenly picked: a level needs no more, and no filter before."""


class LevelMeter:
    """Takes the two channels as they come, in pieces of any length. Frames are 20 ms long to a sample."""

    def __init__(self) -> None:
        self._rate_hz = 0
        self._step = 1
        self._num_to_skip = 0  # before the next sample that is picked
        self._num_before = 0  # picked samples of complete frames since the rate last changed
        self._num_frames = 0  # likewise
        self._rest = np.zeros((2, 0), np.float32)
        self._codes: list[NDArray[np.uint8]] = []

    def add(self, rate_hz: int, channels: Sequence[Samples]) -> None:
        """Arrays of shape (num_samples,) in [-1, 1]; what is not stereo counts as silence."""
        if rate_hz != self._rate_hz:  # pasted recordings: the frame that was begun is left out
            self._rate_hz, self._step = rate_hz, max(1, rate_hz // _ENOUGH_HZ)
            self._num_to_skip = self._num_before = self._num_frames = 0
            self._rest = self._rest[:, :0]
        picked = [channel[self._num_to_skip :: self._step] for channel in channels]
        self._num_to_skip = (self._num_to_skip - len(channels[0])) % self._step
        both = np.stack(picked) if len(picked) == 2 else np.zeros((2, len(picked[0])), np.float32)
        self._measure(np.concatenate((self._rest, both), axis=1))

    def codes(self, *, from_s: int = 0, to_s: int | None = None) -> str:
        """Two characters per frame, one per channel: 32 + the decibels below full scale."""
        end = None if to_s is None else 2 * to_s * FRAMES_PER_S
        return b"".join(codes.tobytes() for codes in self._codes).decode("ascii")[2 * from_s * FRAMES_PER_S : end]

    def _measure(self, samples: Samples) -> None:
        steps_per_s = FRAMES_PER_S * self._step  # a frame has rate_hz / steps_per_s picked samples, on average
        num_ready = (self._num_before + samples.shape[1]) * steps_per_s // self._rate_hz - self._num_frames
        frames = np.arange(self._num_frames, self._num_frames + num_ready + 1)
        bounds = -(-frames * self._rate_hz // steps_per_s) - self._num_before
        if num_ready:
            lengths = np.diff(bounds)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                energy = np.add.reduceat(np.square(samples[:, : bounds[-1]]), bounds[:-1], axis=1) / lengths
                self._codes.append(_coded(10.0 * np.log10(energy)).T)
        self._rest = samples[:, bounds[-1] :].copy()
        self._num_before += int(bounds[-1])
        self._num_frames += num_ready


def _coded(level_db: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    below = np.clip(np.nan_to_num(-level_db, nan=QUIETEST_DB, posinf=QUIETEST_DB, neginf=0.0), 0.0, QUIETEST_DB)
    codes: NDArray[np.uint8] = (np.rint(below) + _CODE_0_DB).astype(np.uint8)
    return codes


def levels_of(codes: str) -> Levels:
    """What `LevelMeter.codes` stands for."""
    below = np.frombuffer(codes.encode("ascii"), np.uint8).reshape(-1, 2)
    return np.float32(_CODE_0_DB) - below.astype(np.float32)
