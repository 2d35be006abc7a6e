"""
Local voices linked over chunks into tracks. Pure: arrays in, arrays out.

Neighbouring chunks overlap by more than four seconds, so a voice that both of them hear shows the same activity in the
shared frames. A track is one local voice followed for as long as that works; it belongs to one person, mostly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from worker.engine.grid import Bools, Floats, Ints

ACTIVE = 0.45
"""A local voice speaks where its activation is above this (field notes: tuned on AMI and the sample)."""
_MIN_IOU = 0.5
_MIN_SHARED_FRAMES = 10
_LINK_BLOCK = 512


@dataclass(frozen=True)
class Track:
    """
    One voice over a stretch of frames that begins with frame `first` of the recording. Arrays have shape (num_frames,).

    Attributes:
        active: the majority of the track's chunks hear it.
        heard: at least one chunk hears it.
        probability: mean activation over all chunks that cover the frame, in [0, 1].
        beside: tracks heard as another voice within the same chunk, so most likely another person.
    """

    first: int
    active: Bools
    heard: Bools
    probability: Floats
    beside: frozenset[int]


@dataclass(frozen=True)
class Tracks:
    """`num_voices`: how many voices speak in each frame of the recording, int8, shape (num_frames,)."""

    tracks: tuple[Track, ...]
    num_voices: npt.NDArray[np.int8]


def follow_voices(activations: Floats, step: int) -> Tracks:
    """
    Link the local voices of all chunks.

    Args:
        activations: shape (num_chunks, chunk_frames, num_local_voices), in [0, 1].
        step: frames from the beginning of one chunk to that of the next.
    """
    active: Bools = activations > np.float32(ACTIVE)
    ids = link_chunks(active, step)
    coverage, num_voices = _coverage(active, step)
    beside = _heard_side_by_side(ids)
    places = _places(ids)
    tracks = tuple(_track(activations, active, step, coverage, where, beside[t]) for t, where in enumerate(places))
    return Tracks(tracks, num_voices)


def link_chunks(active: Bools, step: int) -> Ints:
    """Track of every local voice, shape (num_chunks, num_local_voices); -1 where it never speaks in that chunk."""
    num_chunks, _, num_local = active.shape
    speaks: Bools = np.any(active, axis=1)
    ids = np.full((num_chunks, num_local), -1)
    num_tracks = 0
    overlaps = _overlaps(active, step)
    for chunk in range(num_chunks):
        if chunk:
            partner, linked = next(overlaps)
            known = linked & (ids[chunk - 1] >= 0) & speaks[chunk, partner]
            ids[chunk, partner[known]] = ids[chunk - 1, known]
        for local in np.flatnonzero(speaks[chunk] & (ids[chunk] < 0)):
            ids[chunk, local] = num_tracks
            num_tracks += 1
    return ids


def _overlaps(active: Bools, step: int) -> Iterator[tuple[Ints, Bools]]:
    """
    For each chunk but the last: the partner of each local voice in the next chunk (the permutation with the highest
    summed intersection over union in the shared frames), and whether that pair agrees well enough to be one voice.
    """
    num_local = active.shape[2]
    orders = np.array(list(permutations(range(num_local))))
    rows = np.arange(num_local)
    for first in range(0, len(active) - 1, _LINK_BLOCK):
        block = active[first : first + _LINK_BLOCK + 1]
        before, after = block[:-1, step:].astype(np.float32), block[1:, : active.shape[1] - step].astype(np.float32)
        shared = np.einsum("cfi,cfj->cij", before, after)
        union = before.sum(axis=1)[:, :, None] + after.sum(axis=1)[:, None, :] - shared
        iou = np.where(shared >= _MIN_SHARED_FRAMES, shared / np.maximum(union, 1), 0)
        best = orders[iou[:, rows[None], orders].sum(axis=2).argmax(axis=1)]
        for pair_iou, partner in zip(iou, best, strict=True):
            yield partner, pair_iou[rows, partner] >= _MIN_IOU


def _coverage(active: Bools, step: int) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Per frame of the recording: how many chunks cover it, and the mean number of voices they hear, rounded."""
    num_chunks, chunk_frames, _ = active.shape
    num_frames = (num_chunks - 1) * step + chunk_frames
    coverage, voices = np.zeros(num_frames, dtype=np.float32), np.zeros(num_frames, dtype=np.float32)
    for chunk in range(num_chunks):
        frames = slice(chunk * step, chunk * step + chunk_frames)
        coverage[frames] += 1
        voices[frames] += active[chunk].sum(axis=1)
    return coverage, np.floor(voices / coverage + 0.5).astype(np.int8)


def _places(ids: Ints) -> list[list[tuple[int, int]]]:
    """For each track the (chunk, local voice) pairs that it goes through, in time order."""
    places: list[list[tuple[int, int]]] = [[] for _ in range(ids.max(initial=-1) + 1)]
    for chunk, local in np.argwhere(ids >= 0).tolist():
        places[ids[chunk, local]].append((chunk, local))
    return places


def _heard_side_by_side(ids: Ints) -> list[frozenset[int]]:
    beside: list[set[int]] = [set() for _ in range(ids.max(initial=-1) + 1)]
    for row in ids.tolist():
        present = {track for track in row if track >= 0}
        for track in present:
            beside[track] |= present - {track}
    return [frozenset(others) for others in beside]


def _track(
    activations: Floats,
    active: Bools,
    step: int,
    coverage: Floats,
    places: list[tuple[int, int]],
    beside: frozenset[int],
) -> Track:
    chunk_frames = activations.shape[1]
    first = places[0][0] * step
    length = (places[-1][0] - places[0][0]) * step + chunk_frames
    votes, chunks, total = (np.zeros(length, dtype=np.float32) for _ in range(3))
    for chunk, local in places:
        frames = slice(chunk * step - first, chunk * step - first + chunk_frames)
        votes[frames] += active[chunk, :, local]
        chunks[frames] += 1
        total[frames] += activations[chunk, :, local]
    return Track(
        first=first,
        active=votes > 0.5 * chunks,
        heard=votes > 0,
        probability=(total / coverage[first : first + length]).astype(np.float32),
        beside=beside,
    )
