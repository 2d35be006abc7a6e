"""
Which units say what a meeting is about: term weights, centrality, choice without repetition, and where topics change.

Memory is linear in the length of the transcript: the matrix of similarities between units is never built, only
multiplied with, as `X (X' v)`. Ten hours of speech take about a second. Nothing is random.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

DAMPING = 0.85
"""Erkan and Radev 2004, and PageRank before them."""

SAME_AGAIN = 0.95
"""Cosine above which two units say the same, word for word or nearly. Our choice."""


class TermMatrix:
    """
    Units by terms: tf-idf weights, rows L2-normalised, shape (num_units, num_terms), stored as three parallel arrays.

    A unit without a term that carries meaning is a row of zeros: similar to nothing.
    """

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self.num_units = len(rows)
        counts = [Counter(row) for row in rows]
        self.terms = list(dict.fromkeys(term for row in rows for term in row))
        column = {term: j for j, term in enumerate(self.terms)}
        lengths = np.array([len(count) for count in counts], dtype=np.intp)
        self._unit = np.repeat(np.arange(self.num_units), lengths)
        self._term = np.array([column[term] for count in counts for term in count], dtype=np.intp)
        frequency = np.array([n for count in counts for n in count.values()], dtype=np.float64)
        units_with = np.bincount(self._term, minlength=len(self.terms))
        weight = frequency * np.log((1 + self.num_units) / (1 + units_with[self._term])) + frequency * 1e-3
        norms = np.sqrt(np.bincount(self._unit, weights=weight**2, minlength=self.num_units))
        self._weight = weight / norms[self._unit]
        self._ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.intp)

    def times(self, by_term: Vector) -> Vector:
        """X v: shape (num_terms,) to (num_units,)."""
        sums: Vector = np.bincount(self._unit, self._weight * by_term[self._term], self.num_units).astype(np.float64)
        return sums

    def transposed_times(self, by_unit: Vector) -> Vector:
        """X' v: shape (num_units,) to (num_terms,)."""
        sums: Vector = np.bincount(self._term, self._weight * by_unit[self._unit], len(self.terms)).astype(np.float64)
        return sums

    def add_row(self, unit: int, to: Vector, *, sign: float = 1.0) -> None:
        """Add (or take away) one unit's row, in place; `to` has shape (num_terms,)."""
        row = slice(self._ends[unit], self._ends[unit + 1])
        to[self._term[row]] += sign * self._weight[row]

    def similarity_to(self, unit: int) -> Vector:
        """Cosine of every unit with one; shape (num_units,)."""
        row = np.zeros(len(self.terms))
        self.add_row(unit, row)
        return self.times(row)


def centrality(matrix: TermMatrix, *, num_rounds: int = 50, tolerance: float = 1e-9) -> Vector:
    """
    How well each unit stands for all others, shape (num_units,), the highest being 1.

    Source: continuous LexRank (Erkan and Radev, "LexRank", JAIR 22, 2004, section 3.3): PageRank on the graph of units
    whose edges are cosines.
    """
    num_units = matrix.num_units
    if not num_units:
        return np.zeros(0)
    own = (matrix.times(np.ones(len(matrix.terms))) > 0).astype(np.float64)  # a row's cosine with itself
    degree = matrix.times(matrix.transposed_times(np.ones(num_units))) - own
    share = np.divide(1.0, degree, out=np.zeros(num_units), where=degree > 1e-9)
    rank = np.full(num_units, 1.0 / num_units)
    for _ in range(num_rounds):
        given = rank * share
        spread = matrix.times(matrix.transposed_times(given)) - own * given
        new = (1.0 - DAMPING) / num_units + DAMPING * np.maximum(spread, 0.0)
        new /= new.sum()
        if np.abs(new - rank).max() < tolerance:
            break
        rank = new
    relative: Vector = rank / rank.max()
    return relative


def choose(matrix: TermMatrix, worth: Vector, num_chosen: int) -> list[int]:
    """
    Units by worth, each as unlike those before it as can be, best first; units without worth are never chosen.

    Source: after maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), with a product instead of the
    difference: worth times how little the nearest chosen unit has in common.
    """
    chosen: list[int] = []
    repeated = np.zeros(matrix.num_units)
    free = worth > 0
    while free.any() and len(chosen) < num_chosen:
        score = np.where(free, worth * (1.0 - repeated), -np.inf)
        best = int(np.argmax(score))
        chosen.append(best)
        repeated = np.maximum(repeated, matrix.similarity_to(best))
        free &= repeated < SAME_AGAIN
        free[best] = False
    return chosen


def topic_starts(matrix: TermMatrix, times_s: Vector, *, window: int, min_topic_s: float, max_topics: int) -> list[int]:
    """
    The units with which a new topic begins, in order; the first is always 0.

    Args:
        times_s: when each unit begins, and last when the recording ends; shape (num_units + 1,).

    Source: TextTiling (Hearst, Computational Linguistics 23, 1997): a topic changes where the words of the `window`
    units before and after a gap have little in common, compared with the gaps around. The deepest valleys win, `window`
    units and `min_topic_s` apart. Ours is the threshold, a standard deviation above the mean depth: Hearst takes all
    above half a one below it, which suits prose; talk jumps more.
    """
    common = cohesion(matrix, window)
    depth = _depths(common)
    enough = depth.mean() + depth.std() if depth.size else 0.0
    starts = [0]
    for gap in np.argsort(-depth, kind="stable"):
        start = int(gap) + 1
        is_far = all(
            abs(start - other) >= window and abs(times_s[start] - times_s[other]) >= min_topic_s
            for other in (*starts, matrix.num_units)
        )
        if len(starts) < max_topics and depth[gap] > max(enough, 1e-6) and is_far:
            starts.append(start)
    return sorted(starts)


def cohesion(matrix: TermMatrix, window: int) -> Vector:
    """Cosine of the text before and after each gap between units; shape (num_units - 1,)."""
    before, after = np.zeros(len(matrix.terms)), np.zeros(len(matrix.terms))
    for unit in range(min(window, matrix.num_units)):
        matrix.add_row(unit, after)
    common = np.zeros(max(0, matrix.num_units - 1))
    for gap in range(common.size):
        _slide(matrix, gap, window, before, after)
        norms = math.sqrt(_dot(before, before) * _dot(after, after))
        common[gap] = _dot(before, after) / norms if norms > 1e-9 else 0.0
    return common


def _dot(a: Vector, b: Vector) -> float:
    """Without BLAS: its threads wait for each other, and on a busy machine `a @ b` took 50 times as long."""
    return float((a * b).sum())


def _slide(matrix: TermMatrix, gap: int, window: int, before: Vector, after: Vector) -> None:
    """Unit `gap` crosses from after to before; one unit enters, one leaves."""
    matrix.add_row(gap, after, sign=-1.0)
    matrix.add_row(gap, before)
    if gap + window < matrix.num_units:
        matrix.add_row(gap + window, after)
    if gap - window >= 0:
        matrix.add_row(gap - window, before, sign=-1.0)


def _depths(common: Vector) -> Vector:
    """How far each gap lies below the nearest peaks on both sides."""
    depth = np.zeros_like(common)
    for here in range(common.size):
        left, right = here, here
        while left > 0 and common[left - 1] >= common[left]:
            left -= 1
        while right + 1 < common.size and common[right + 1] >= common[right]:
            right += 1
        depth[here] = common[left] + common[right] - 2 * common[here]
    return depth
