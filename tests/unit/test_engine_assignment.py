"""From labelled pieces to who speaks in every frame: two made-up voices, a few seconds of talk."""

from __future__ import annotations

import numpy as np

from tests.unit.test_engine_tracks import made_of, talk
from worker.engine.assignment import Frames, decide_frames, reassign
from worker.engine.clustering import NOBODY, Evidence
from worker.engine.grid import Bools, Floats, Ints
from worker.engine.pieces import Pieces, cut_pieces
from worker.engine.tracks import Tracks

ANN, BOB = np.eye(2, dtype=np.float32)


def pieces_of(voices: Bools) -> tuple[Tracks, Pieces]:
    tracks = made_of(voices)
    return tracks, cut_pieces(tracks, num_mel_frames=1000)


def evidence_of(tracks: Tracks, pieces: Pieces, vectors: Floats) -> Evidence:
    beside = tuple(track.beside for track in tracks.tracks)
    return Evidence(vectors, pieces.track, pieces.middle_s, pieces.length, beside)


def decide(voices: Bools) -> Frames:
    """Ann is voice 0 of the segmentation, Bob voice 1; a piece sounds like whoever speaks in its middle."""
    tracks, pieces = pieces_of(voices)
    speaker = [int(voices[round((s - 0.031) / 0.016875), 1]) for s in pieces.middle_s.tolist()]
    vectors = np.stack([ANN, BOB])[speaker]
    return decide_frames(tracks, pieces, evidence_of(tracks, pieces, vectors), np.array(speaker))


def test_frames_go_to_whoever_the_pieces_of_their_track_belong_to() -> None:
    """Two words overlap by six frames; there both speak, and nowhere else."""
    voices = talk((0, 20, 150), (1, 144, 290))
    np.testing.assert_array_equal(decide(voices).speaks, voices[:, :2])


def test_a_voice_that_is_never_heard_alone_is_the_one_not_heard_beside_it() -> None:
    """Bob's interjection lies wholly under Ann's speech and has no pieces; earlier he spoke alone."""
    voices = talk((1, 10, 90), (0, 100, 320), (1, 200, 230))
    speaks = decide(voices).speaks
    assert speaks[205:225].all()
    assert not speaks[110:190, 1].any()


def test_nobody_speaks_in_silence() -> None:
    voices = talk((0, 20, 150), (1, 200, 290))
    speaks = decide(voices).speaks
    assert not speaks[155:195].any()
    assert not speaks[300:].any()


def relabelled(vectors: list[Floats], labels: list[int], *, tracks: list[int], length: list[int]) -> Ints:
    evidence = Evidence(
        np.stack(vectors),
        np.array(tracks),
        np.arange(len(labels), dtype=np.float64),
        np.array(length),
        tuple(frozenset[int]() for _ in range(max(tracks) + 1)),
    )
    return reassign(evidence, np.array(labels))


def test_pieces_without_a_cluster_go_to_the_voice_they_resemble() -> None:
    labels = relabelled(
        [ANN, ANN, BOB, BOB, BOB], [0, 0, 1, 1, NOBODY], tracks=[0, 1, 2, 3, 4], length=[200, 200, 200, 200, 50]
    )
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_a_piece_that_says_nothing_follows_its_track() -> None:
    """Too short to have a vector: its neighbours on the same track decide."""
    nothing = np.zeros(2, dtype=np.float32)
    labels = relabelled(
        [ANN, ANN, BOB, nothing, BOB], [0, 0, 1, NOBODY, 1], tracks=[0, 0, 1, 1, 1], length=[200, 200, 200, 20, 200]
    )
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_a_piece_in_the_wrong_cluster_is_put_right() -> None:
    labels = relabelled([ANN, ANN, ANN, BOB, BOB, ANN], [0, 0, 0, 1, 1, 1], tracks=[0, 1, 2, 3, 4, 5], length=[200] * 6)
    assert labels.tolist() == [0, 0, 0, 1, 1, 0]
