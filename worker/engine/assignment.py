"""
From clusters of pieces to who speaks in every frame. Pure.

Pieces are given to voices a second time, now with their neighbours' votes; tracks carry the answer to the frames that
no piece covers; and where two speak, the second one is whoever spoke nearest in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from worker.engine.clustering import NOBODY, Evidence, means
from worker.engine.grid import FRAME_S, MEL_FRAMES_PER_S, Bools, Floats, Ints, edge_s, runs
from worker.engine.pieces import Pieces
from worker.engine.tracks import Track, Tracks

_ROUNDS = 2
_VOTE_WEIGHT = 0.05
_VOTE_DECAY_S = 2.0
_VOTE_SPAN_S = 6.0
_BESIDE_SPAN_S = 3.0
_MAX_VOTE = 1.5
_FULL_TRUST_FRAMES = 160
_LEAST_ACTIVITY = 0.02
_SECOND_VOICE_WITHIN_S = 10.0


@dataclass(frozen=True)
class Frames:
    """
    Who speaks in every frame; column k is voice k.

    Attributes:
        speaks: shape (num_frames, num_voices); several may speak at once.
        activity: how sure the segmentation is, shape (num_frames, num_voices), in [0, 1].
    """

    speaks: Bools
    activity: Floats


def reassign(evidence: Evidence, labels: Ints) -> Ints:
    """
    Give every piece, the short ones too, to the voice it resembles most, neighbours of the same track voting for theirs
    and voices heard beside it against.
    """
    voices = means(evidence, labels)
    trust = np.clip(evidence.length / _FULL_TRUST_FRAMES, 0.2, 1)[:, None]
    for _ in range(_ROUNDS):
        score = evidence.vectors @ voices.T * trust + _VOTE_WEIGHT * _votes(evidence, labels, len(voices))
        labels = np.argmax(score, axis=1)
        fresh = means(evidence, labels)
        fresh = np.pad(fresh, ((0, len(voices) - len(fresh)), (0, 0)))
        voices = np.where(np.any(fresh, axis=1, keepdims=True), fresh, voices)
    return labels


def _votes(evidence: Evidence, labels: Ints, num_voices: int) -> npt.NDArray[np.float64]:
    """What the pieces within six seconds say about each piece, shape (num_pieces, num_voices)."""
    order = np.argsort(evidence.middle_s, kind="stable")
    sorted_s = evidence.middle_s[order]
    first = np.searchsorted(sorted_s, sorted_s - _VOTE_SPAN_S)
    stop = np.searchsorted(sorted_s, sorted_s + _VOTE_SPAN_S, side="right")
    weight = evidence.weight / MEL_FRAMES_PER_S
    votes = np.zeros((len(labels), num_voices))
    for rank, piece in enumerate(order):
        for other in order[first[rank] : stop[rank]]:
            if other == piece or labels[other] == NOBODY:
                continue
            apart_s = abs(evidence.middle_s[piece] - evidence.middle_s[other])
            if evidence.track[piece] == evidence.track[other]:
                votes[piece, labels[other]] += np.exp(-apart_s / _VOTE_DECAY_S) * weight[other]
            elif apart_s < _BESIDE_SPAN_S and int(evidence.track[other]) in evidence.beside[evidence.track[piece]]:
                votes[piece, labels[other]] -= weight[other]
    return np.clip(votes, -_MAX_VOTE, _MAX_VOTE)


def decide_frames(tracks: Tracks, pieces: Pieces, evidence: Evidence, labels: Ints) -> Frames:
    """Who speaks in every frame of the recording, given the voice of every piece."""
    num_voices = int(labels.max()) + 1
    activity = np.zeros((len(tracks.num_voices), num_voices), dtype=np.float32)
    of_track = _pieces_of_track(pieces, len(tracks.tracks))
    spoken_s = [np.sort(evidence.middle_s[labels == voice]) for voice in range(num_voices)]
    for number, track in enumerate(tracks.tracks):
        heard = np.flatnonzero(track.heard)
        voices = (
            _voice_by_piece(heard + track.first, pieces, of_track[number], labels)
            if of_track[number]
            else _voice_by_elimination(heard + track.first, track, of_track, evidence, labels, spoken_s)
        )
        for voice in np.unique(voices[voices != NOBODY]):
            mine = heard[voices == voice]
            column = activity[:, voice]
            column[mine + track.first] = np.maximum(column[mine + track.first], track.probability[mine])
    speaks = _most_active(activity, tracks.num_voices)
    _add_second_voice(speaks, tracks.num_voices)
    return Frames(speaks, activity)


def _pieces_of_track(pieces: Pieces, num_tracks: int) -> list[list[int]]:
    result: list[list[int]] = [[] for _ in range(num_tracks)]
    for piece, track in enumerate(pieces.track.tolist()):
        result[track].append(piece)
    return result


def _mel_position(frames: Ints) -> npt.NDArray[np.floating]:
    return (edge_s(frames) + FRAME_S / 2) * MEL_FRAMES_PER_S


def _voice_by_piece(frames: Ints, pieces: Pieces, own: Sequence[int], labels: Ints) -> Ints:
    """The voice of the nearest piece of the track; the border between two pieces is midway."""
    borders = np.array([(pieces.frames[a][-1] + pieces.frames[b][0]) / 2 for a, b in pairwise(own)])
    nearest: Ints = labels[np.array(own)[np.searchsorted(borders, _mel_position(frames))]]
    return nearest


def _voice_by_elimination(
    frames: Ints,
    track: Track,
    of_track: list[list[int]],
    evidence: Evidence,
    labels: Ints,
    spoken_s: list[npt.NDArray[np.float64]],
) -> Ints:
    """
    A track that is never heard alone has no pieces: it is none of the voices heard beside it just then, and of the
    others the one that spoke nearest in time.
    """
    middle_s = float(_mel_position(frames).mean()) / MEL_FRAMES_PER_S if len(frames) else 0.0
    around = [piece for other in track.beside for piece in of_track[other]]
    taken = {int(labels[i]) for i in around if abs(evidence.middle_s[i] - middle_s) < _BESIDE_SPAN_S}
    free = [voice for voice, times in enumerate(spoken_s) if voice not in taken and len(times)]
    voice = min(free, key=lambda voice: float(np.abs(spoken_s[voice] - middle_s).min()), default=NOBODY)
    return np.full(len(frames), voice)


def _most_active(activity: Floats, num_speaking: npt.NDArray[np.int8]) -> Bools:
    """In each frame as many voices as the segmentation counted, the most active first."""
    order = np.argsort(-activity, axis=1, kind="stable")
    frames = np.arange(len(activity))
    speaks = np.zeros(activity.shape, dtype=bool)
    for rank in range(min(activity.shape[1], int(num_speaking.max(initial=0)))):
        voice = order[:, rank]
        speaks[frames, voice] |= (rank < num_speaking) & (activity[frames, voice] > _LEAST_ACTIVITY)
    return speaks


def _add_second_voice(speaks: Bools, num_speaking: npt.NDArray[np.int8]) -> None:
    """Where two were counted and one is known, the other is whoever spoke nearest in time, within ten seconds."""
    missing = (num_speaking >= 2) & (speaks.sum(axis=1) == 1)
    spoken = [np.flatnonzero(column) for column in speaks.T]
    for first, stop in zip(*runs(missing), strict=True):
        apart = [
            np.inf if speaks[first:stop, voice].any() else _frames_apart(frames, first, stop)
            for voice, frames in enumerate(spoken)
        ]
        nearest = int(np.argmin(apart))
        if apart[nearest] < _SECOND_VOICE_WITHIN_S / FRAME_S:
            speaks[first:stop, nearest] = True


def _frames_apart(spoken: Ints, first: int, stop: int) -> float:
    """Frames between the stretch and the nearest one in `spoken` (ascending, none within the stretch)."""
    after = int(np.searchsorted(spoken, first))
    neighbours = spoken[max(0, after - 1) : after + 1]
    return min((min(abs(int(f) - first), abs(int(f) - (stop - 1))) for f in neighbours), default=np.inf)
