"""
Whose piece is whose: average linkage on how alike pieces sound and how they hang together in time. Pure.

Affinity of two pieces: cosine of their vectors, minus the cosine at which one voice and two are equally likely, plus a
bonus when they lie on the same track, minus a penalty when they were heard side by side. Clusters merge while their
mean affinity is positive. Values were tuned together on eleven excerpts of AMI and the two-speaker sample (see
CONTRIBUTING.md); 530 settings were tried, and the best on those files did worse on files left out, so do not chase the
last point. `same_voice` was chosen on seven versions of each, from 0.615 to 0.655: 25.9 % DER in all, 26.6 % when each
recording is scored with the value that is best on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from worker.engine.grid import MEL_FRAMES_PER_S, Bools, Floats, Ints
from worker.engine.voices import unit

NOBODY = -1
_NEARBY = 0.05


@dataclass(frozen=True)
class Evidence:
    """
    What is known about the pieces of a recording; row i of everything is piece i.

    Attributes:
        vectors: L2-normalised, zero for pieces too short to say anything, shape (num_pieces, dim).
        track: number of its track, shape (num_pieces,).
        middle_s: when, shape (num_pieces,).
        length: mel frames of speech, shape (num_pieces,).
        beside: for each *track*, the tracks heard as another voice in the same chunk.
    """

    vectors: Floats
    track: Ints
    middle_s: npt.NDArray[np.float64]
    length: Ints
    beside: tuple[frozenset[int], ...]

    @property
    def says_something(self) -> Bools:
        anything: Bools = np.any(self.vectors, axis=1)
        return anything

    @property
    def weight(self) -> Floats:
        """How much a piece counts in its cluster's mean: its speech, at most 3 s of it."""
        return np.minimum(self.length, 300).astype(np.float32) * self.says_something

    def part(self, chosen: Ints) -> Evidence:
        return Evidence(
            self.vectors[chosen], self.track[chosen], self.middle_s[chosen], self.length[chosen], self.beside
        )


@dataclass(frozen=True)
class ClusterRule:
    """
    Attributes:
        same_voice: cosine between two pieces at which one voice and two are equally likely.
        track_bonus, track_decay_s: added for the same track, fading with the time between.
        beside_penalty, beside_s: taken off for tracks heard side by side, within that time.
        min_piece_s: shorter pieces do not found clusters; they join one afterwards.
        same_person: two clusters whose means are this close are one person, even if heard side by side: where pauses
            were cut out, the segmentation hears one voice as two.
        fold_cosine, fold_share, fold_s: a cluster with less than this share of the speech, or with less than these
            seconds, joins a cluster twice its size whose mean is this close. (Merging *any* two at 0.80 fused people.)
        ghost_s, ghost_share, max_ghost_s: a cluster is a person if it has this share of the speech, but at least
            `ghost_s` and no need for more than `max_ghost_s`.
        block_pieces: above this many pieces, blocks of time are clustered first, then their clusters.
    """

    same_voice: float = 0.645
    track_bonus: float = 0.1
    track_decay_s: float = 6.0
    beside_penalty: float = 0.2
    beside_s: float = 5.0
    min_piece_s: float = 0.6
    same_person: float = 0.90
    fold_cosine: float = 0.70
    fold_share: float = 0.05
    fold_s: float = 3.0
    ghost_s: float = 1.0
    ghost_share: float = 0.03
    max_ghost_s: float = 10.0
    block_pieces: int = 2400


@dataclass(frozen=True)
class Bounds:
    """How many people somebody said there are; None means unknown."""

    min_speakers: int = 1
    max_speakers: int | None = None


def cluster(evidence: Evidence, bounds: Bounds, rule: ClusterRule | None = None) -> Ints:
    """
    Cluster of each piece, 0 to num_clusters - 1, or NOBODY; shape (num_pieces,).

    Pieces that are short or belong to a ghost stay with NOBODY. There is a cluster as soon as one piece says something.
    """
    rule = rule or ClusterRule()
    labels = np.full(len(evidence.length), NOBODY)
    founders = _founders(evidence, rule)
    if not len(founders):
        return labels
    part = evidence.part(founders)
    found = _linkage(part, bounds, rule)
    found = _join(part, found, bounds, rule)
    found = _without_ghosts(part, found, bounds, rule)
    labels[founders] = found
    if bounds.max_speakers is not None:
        labels = merge_closest(evidence.vectors, labels, max_clusters=bounds.max_speakers)
    return renumbered(labels)


def num_clusters_nearby(evidence: Evidence, bounds: Bounds) -> tuple[int, int]:
    """
    Fewest and most clusters that a slightly other `same_voice` would have given: how sure the count is.

    0.05 either way. On excerpts of AMI, the two-speaker sample and copies of them (84 recordings), the wrong speaker
    has 2.6 % of the speech where the count stays the same and 7.7 % where it does not; with 0.025 that is 3.2 and
    9.0 %, and 0.075 doubts more recordings and tells them apart no better.
    """
    shipped = ClusterRule()
    counts = [
        int(cluster(evidence, bounds, replace(shipped, same_voice=shipped.same_voice + other)).max(initial=NOBODY)) + 1
        for other in (-_NEARBY, 0.0, _NEARBY)
    ]
    return min(counts), max(counts)


def means(evidence: Evidence, labels: Ints) -> Floats:
    """The voice of each cluster: mean over its pieces, weighted by speech, L2-normalised, (num_clusters, dim)."""
    sums = np.zeros((labels.max(initial=NOBODY) + 1, evidence.vectors.shape[1]), dtype=np.float32)
    known = labels != NOBODY
    np.add.at(sums, labels[known], evidence.vectors[known] * evidence.weight[known, None])
    return unit(sums)


def merge_into_nearest(evidence: Evidence, labels: Ints, voice: int) -> Ints:
    """Give the pieces of one voice to the voice that its mean resembles most."""
    voices = means(evidence, labels)
    cosine = voices @ voices[voice]
    cosine[voice] = -np.inf
    return renumbered(np.where(labels == voice, int(cosine.argmax()), labels))


def renumbered(labels: Ints) -> Ints:
    """The same clusters as 0 to num_clusters - 1; NOBODY stays."""
    result = np.full_like(labels, NOBODY)
    known = labels != NOBODY
    result[known] = np.unique(labels[known], return_inverse=True)[1]
    return result


def affinity(evidence: Evidence, rule: ClusterRule) -> Floats:
    """Shape (num_pieces, num_pieces); positive where two pieces are rather one voice than two."""
    result = evidence.vectors @ evidence.vectors.T - np.float32(rule.same_voice)
    middle_s = evidence.middle_s.astype(np.float32)
    apart_s = np.abs(middle_s[:, None] - middle_s[None, :])
    same_track = evidence.track[:, None] == evidence.track[None, :]
    result += np.where(same_track, np.float32(rule.track_bonus) * np.exp(-apart_s / rule.track_decay_s), 0)
    result[_beside(evidence) & (apart_s < rule.beside_s)] -= np.float32(rule.beside_penalty)
    return result


def merge_closest(
    vectors: Floats,
    labels: Ints,
    *,
    max_clusters: int | None = None,
    threshold: float = np.inf,
    min_clusters: int = 1,
) -> Ints:
    """
    Merge the two clusters with the highest mean cosine between their pieces, again and again: while there are more than
    `max_clusters`, and beyond that while the mean is above `threshold` and more than `min_clusters` are left.

    The mean over all pairs is the dot product of the plain means, so whole clusters cost no more than pieces.
    """
    labels = renumbered(labels)
    num_clusters = int(labels.max(initial=NOBODY)) + 1
    size = np.bincount(labels[labels != NOBODY], minlength=num_clusters).astype(float)
    plain = np.stack([vectors[labels == i].mean(axis=0) for i in range(num_clusters)]).astype(float)
    cosine = plain @ plain.T
    np.fill_diagonal(cosine, -np.inf)
    for left in range(num_clusters, 1, -1):
        i, j = np.unravel_index(cosine.argmax(), cosine.shape)
        forced = max_clusters is not None and left > max_clusters
        if not forced and (cosine[i, j] <= threshold or left <= min_clusters):
            break
        merged = (size[i] * cosine[i] + size[j] * cosine[j]) / (size[i] + size[j])
        cosine[i], cosine[:, i] = merged, merged
        cosine[j], cosine[:, j], cosine[i, i] = -np.inf, -np.inf, -np.inf
        size[i] += size[j]
        labels[labels == j] = i
    return renumbered(labels)


def _founders(evidence: Evidence, rule: ClusterRule) -> Ints:
    long_enough = evidence.length >= rule.min_piece_s * MEL_FRAMES_PER_S
    founders = np.flatnonzero(evidence.says_something & long_enough)
    return founders if len(founders) else np.flatnonzero(evidence.says_something)


def _beside(evidence: Evidence) -> Bools:
    """Which pairs of pieces lie on tracks that were heard side by side."""
    tracks, position = np.unique(evidence.track, return_inverse=True)
    place = {int(track): i for i, track in enumerate(tracks)}
    between = np.zeros((len(tracks), len(tracks)), dtype=bool)
    for track, i in place.items():
        between[i, [place[other] for other in evidence.beside[track] if other in place]] = True
    return between[np.ix_(position, position)]


def _linkage(evidence: Evidence, bounds: Bounds, rule: ClusterRule) -> Ints:
    if len(evidence.length) <= rule.block_pieces:
        return _average_linkage(evidence, bounds, rule)
    labels = np.empty(len(evidence.length), dtype=int)
    num_found = 0
    for block in _blocks(evidence.middle_s, rule.block_pieces // 2):
        labels[block] = _average_linkage(evidence.part(block), Bounds(), rule) + num_found
        num_found = int(labels[block].max()) + 1
    return merge_closest(evidence.vectors, labels, threshold=rule.same_voice, min_clusters=bounds.min_speakers)


def _blocks(middle_s: npt.NDArray[np.float64], size: int) -> Iterator[Ints]:
    order = np.argsort(middle_s, kind="stable")
    for first in range(0, len(order), size):
        yield order[first : first + size]


def _average_linkage(evidence: Evidence, bounds: Bounds, rule: ClusterRule) -> Ints:
    """Merge while the mean affinity is positive, but not below the number of people somebody asked for."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(evidence.length) == 1:
        return np.zeros(1, dtype=int)
    alike = affinity(evidence, rule)
    zero = float(alike.max()) + 1.0
    distance = zero - alike
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    labels: Ints = fcluster(tree, zero, "distance") - 1
    for count in range(labels.max() + 2, min(len(labels), 4 * bounds.min_speakers) + 1):
        if _num_people(evidence, labels, rule) >= bounds.min_speakers:
            break
        labels = fcluster(tree, count, "maxclust") - 1
    return labels


def _speech_s(evidence: Evidence, labels: Ints) -> npt.NDArray[np.float64]:
    return np.bincount(labels, evidence.length).astype(float) / MEL_FRAMES_PER_S


def _is_person(speech_s: npt.NDArray[np.float64], rule: ClusterRule) -> Bools:
    needed_s = max(rule.ghost_s, min(rule.ghost_share * float(speech_s.sum()), rule.max_ghost_s))
    enough: Bools = speech_s >= needed_s
    return enough


def _num_people(evidence: Evidence, labels: Ints, rule: ClusterRule) -> int:
    return int(_is_person(_speech_s(evidence, labels), rule).sum())


def _join(evidence: Evidence, labels: Ints, bounds: Bounds, rule: ClusterRule) -> Ints:
    """Clusters join that are one person by their means; then small ones join the larger one that they resemble most."""
    labels = renumbered(labels)
    while labels.max() + 1 > bounds.min_speakers:
        voices = means(evidence, labels)
        pair = _same_person(voices, rule) or _next_fold(_speech_s(evidence, labels), voices, rule)
        if pair is None:
            break
        joining, larger = pair
        labels[labels == joining] = larger
        labels = renumbered(labels)
    return labels


def _same_person(voices: Floats, rule: ClusterRule) -> tuple[int, int] | None:
    cosine = voices @ voices.T
    np.fill_diagonal(cosine, -1)
    i, j = np.unravel_index(cosine.argmax(), cosine.shape)
    return (int(i), int(j)) if cosine[i, j] >= rule.same_person else None


def _next_fold(speech_s: npt.NDArray[np.float64], voices: Floats, rule: ClusterRule) -> tuple[int, int] | None:
    for small in np.argsort(speech_s, kind="stable"):
        if speech_s[small] >= max(rule.fold_s, rule.fold_share * speech_s.sum()):
            return None
        cosine = np.where(speech_s > 2 * speech_s[small], voices @ voices[small], -1)
        if cosine.max() >= rule.fold_cosine:
            return int(small), int(cosine.argmax())
    return None


def _without_ghosts(evidence: Evidence, labels: Ints, bounds: Bounds, rule: ClusterRule) -> Ints:
    """Clusters too small to be a person are given up, but the largest ones are kept up to the number asked for."""
    speech_s = _speech_s(evidence, labels)
    kept = _is_person(speech_s, rule)
    kept[np.argsort(-speech_s, kind="stable")[: bounds.min_speakers]] = True
    return np.where(kept[labels], labels, NOBODY)
