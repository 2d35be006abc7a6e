"""Pieces to people: made-up voices, as far apart as the encoder's are (0.85 the same, 0.55 different)."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engine.clustering import (
    NOBODY,
    Bounds,
    ClusterRule,
    Evidence,
    cluster,
    means,
    merge_closest,
    merge_into_nearest,
    num_clusters_nearby,
    renumbered,
)
from worker.engine.grid import Floats, Ints
from worker.engine.voices import unit

DIM = 64


def voices_of(num_speakers: int, seed: int = 0) -> Floats:
    """Directions with a common part, so that different voices are about 0.55 alike."""
    random = np.random.default_rng(seed)
    own = random.standard_normal((num_speakers, DIM), dtype=np.float32)
    common = random.standard_normal(DIM, dtype=np.float32)
    return unit(unit(own) + np.float32(1.1) * unit(common))


def evidence_of(speakers: list[int], *, length: int = 200, noise: float = 0.4, seed: int = 1) -> Evidence:
    """One piece every two seconds, each on its own track."""
    random = np.random.default_rng(seed)
    centres = voices_of(max(speakers) + 1)
    blur = unit(random.standard_normal((len(speakers), DIM), dtype=np.float32))
    vectors = unit(centres[speakers] + np.float32(noise) * blur)
    count = len(speakers)
    return Evidence(
        vectors,
        np.arange(count),
        np.arange(0, 2 * count, 2, dtype=np.float64),
        np.full(count, length),
        (frozenset(),) * count,
    )


def same_grouping(labels: Ints, speakers: list[int]) -> bool:
    pairs = set(zip(labels.tolist(), speakers, strict=True))
    return len(pairs) == len(set(speakers)) == len(set(labels.tolist()))


@pytest.mark.parametrize("num_speakers", [1, 2, 5])
def test_as_many_clusters_as_people(num_speakers: int) -> None:
    speakers = [i % num_speakers for i in range(60)]
    assert same_grouping(cluster(evidence_of(speakers), Bounds()), speakers)


def test_a_long_meeting_is_clustered_in_blocks_with_the_same_answer() -> None:
    speakers = [i % 4 for i in range(240)]
    rule = ClusterRule(block_pieces=60)
    assert same_grouping(cluster(evidence_of(speakers), Bounds(), rule), speakers)


@pytest.mark.parametrize("block_pieces", [1000, 30])
def test_no_more_people_than_allowed(block_pieces: int) -> None:
    labels = cluster(evidence_of([i % 5 for i in range(60)]), Bounds(1, 3), ClusterRule(block_pieces=block_pieces))
    assert set(labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("block_pieces", [1000, 30])
def test_no_fewer_people_than_asked_for(block_pieces: int) -> None:
    """Two voices cannot become three in truth, but somebody said there are three."""
    labels = cluster(evidence_of([i % 2 for i in range(60)]), Bounds(3), ClusterRule(block_pieces=block_pieces))
    assert len(set(labels.tolist()) - {NOBODY}) >= 3


def test_asking_for_more_people_than_there_are_pieces_is_no_error() -> None:
    labels = cluster(evidence_of([0, 1]), Bounds(5))
    assert set(labels.tolist()) == {0, 1}


def test_no_pieces_no_people() -> None:
    nothing = Evidence(
        np.zeros((0, DIM), dtype=np.float32), np.empty(0, dtype=int), np.empty(0), np.empty(0, dtype=int), ()
    )
    assert len(cluster(nothing, Bounds())) == 0


def test_a_piece_that_says_nothing_founds_no_cluster() -> None:
    evidence = evidence_of([0, 1, 0, 1])
    evidence.vectors[2] = 0
    assert cluster(evidence, Bounds())[2] == NOBODY


def test_voices_heard_side_by_side_are_kept_apart() -> None:
    """Two pieces alike enough to be one voice, unless both were heard at once."""
    evidence = evidence_of([0, 0], noise=0.7)
    together = cluster(evidence, Bounds())
    beside = Evidence(
        evidence.vectors, evidence.track, evidence.middle_s, evidence.length, (frozenset({1}), frozenset({0}))
    )
    assert len(set(together.tolist())) == 1
    assert len(set(cluster(beside, Bounds()).tolist())) == 2


def between(cosine: float) -> Evidence:
    """Two voices so far apart, ten pieces each, without noise."""
    pieces = evidence_of([0] * 20)
    pieces.vectors[:] = 0
    pieces.vectors[:, 0] = 1
    pieces.vectors[::2, :2] = cosine, np.sqrt(1 - cosine**2)
    return pieces


@pytest.mark.parametrize(("cosine", "expected"), [(0.50, (2, 2)), (0.62, (1, 2)), (0.66, (1, 2)), (0.80, (1, 1))])
def test_a_count_is_in_doubt_where_a_slightly_other_threshold_gives_another(
    cosine: float, expected: tuple[int, int]
) -> None:
    assert num_clusters_nearby(between(cosine), Bounds()) == expected


def test_a_count_that_somebody_gave_is_not_in_doubt() -> None:
    assert num_clusters_nearby(between(0.66), Bounds(2, 2)) == (2, 2)


def test_merging_stops_at_the_threshold_or_the_limit() -> None:
    evidence = evidence_of([0, 0, 1, 1, 2, 2], noise=0.2)
    each = np.arange(6)
    assert same_grouping(merge_closest(evidence.vectors, each, threshold=0.75), [0, 0, 1, 1, 2, 2])
    assert len(set(merge_closest(evidence.vectors, each, max_clusters=2).tolist())) == 2
    assert len(set(merge_closest(evidence.vectors, each, threshold=-1, min_clusters=4).tolist())) == 4


def test_a_voice_given_up_goes_to_the_one_it_resembles_most() -> None:
    evidence = evidence_of([0, 0, 0, 1, 1, 1, 0])
    labels = merge_into_nearest(evidence, np.array([0, 0, 0, 1, 1, 1, 2]), 2)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_renumbering_closes_gaps_and_leaves_nobody_alone() -> None:
    assert renumbered(np.array([7, NOBODY, 3, 7])).tolist() == [1, NOBODY, 0, 1]


def test_a_cluster_s_mean_is_a_unit_vector_near_its_voice() -> None:
    evidence = evidence_of([0, 1] * 20)
    voices = means(evidence, np.array([0, 1] * 20))
    np.testing.assert_allclose(np.linalg.norm(voices, axis=1), 1, rtol=1e-5)
    assert (voices @ voices_of(2).T).argmax(axis=1).tolist() == [0, 1]
