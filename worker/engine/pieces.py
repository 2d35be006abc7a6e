"""Tracks cut into pieces: up to two seconds of clean speech of one voice each, long enough to tell whose. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.engine.grid import MEL_FRAMES_PER_S, Ints, mel_frames
from worker.engine.tracks import Tracks

_LONGEST = 200
"""2 s: long enough for the encoder (1.6 s windows), short enough that one voice speaks throughout."""
_WIDEST_GAP = 100
"""1 s: after a longer pause a track may have passed to another person."""
SHORTEST = 40
"""0.4 s: below that an embedding says nothing (field notes)."""


@dataclass(frozen=True)
class Pieces:
    """
    All pieces of a recording, ordered by track and time.

    Attributes:
        track: whose track, shape (num_pieces,).
        frames: mel frames of each piece, ascending, not necessarily consecutive.
    """

    track: Ints
    frames: tuple[Ints, ...]

    @property
    def length(self) -> Ints:
        """Mel frames per piece, shape (num_pieces,)."""
        return np.array([len(frames) for frames in self.frames], dtype=int)

    @property
    def middle_s(self) -> npt.NDArray[np.float64]:
        """Mean time of each piece, seconds, shape (num_pieces,)."""
        return np.array([frames.mean() for frames in self.frames]) / MEL_FRAMES_PER_S

    @property
    def long_enough(self) -> npt.NDArray[np.bool_]:
        return self.length >= SHORTEST


def cut_pieces(tracks: Tracks, num_mel_frames: int) -> Pieces:
    """Pieces of the frames where exactly one voice speaks; short ones are kept: they too must go to somebody."""
    owners: list[int] = []
    frames: list[Ints] = []
    for number, track in enumerate(tracks.tracks):
        alone = track.active & (tracks.num_voices[track.first : track.first + len(track.active)] < 2)
        parts = cut(mel_frames(alone, track.first, num_mel_frames))
        owners += [number] * len(parts)
        frames += parts
    return Pieces(np.array(owners, dtype=int), tuple(frames))


def cut(frames: Ints, longest: int = _LONGEST) -> list[Ints]:
    """At gaps of over a second, then evenly into parts of at most `longest` frames."""
    if not len(frames):
        return []
    stretches = np.split(frames, np.flatnonzero(np.diff(frames) > _WIDEST_GAP) + 1)
    return [part for stretch in stretches for part in np.array_split(stretch, -(-len(stretch) // longest))]
