"""The sparse algorithms against their textbook forms, written out with whole matrices."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.summarize.ranking import DAMPING, TermMatrix, Vector, centrality, choose, cohesion, topic_starts

ROWS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=25)


def dense(rows: list[list[str]]) -> Vector:
    """Units by terms, as TermMatrix promises: tf-idf, rows of length 1 (or 0); shape (num_units, num_terms)."""
    terms = list(dict.fromkeys(term for row in rows for term in row))
    idf = {t: math.log((1 + len(rows)) / (1 + sum(t in row for row in rows))) + 1e-3 for t in terms}
    weights = np.array([[row.count(t) * idf[t] for t in terms] for row in rows], dtype=np.float64)
    weights = weights.reshape(len(rows), len(terms))
    norms = np.sqrt((weights**2).sum(axis=1, keepdims=True))
    rows_of_length_1: Vector = np.divide(weights, norms, out=np.zeros_like(weights), where=norms > 0)
    return rows_of_length_1


def topical(*topics: str, each: int = 20, seed: int = 1) -> list[list[str]]:
    """Rows of three terms, `each` per topic; the letters of a string are a topic's terms."""
    random = Random(seed)
    return [random.sample(terms, 3) for terms in topics for _ in range(each)]


def starts_of(rows: list[list[str]], *, min_topic_s: float = 0.0, max_topics: int = 9) -> list[int]:
    """Ten seconds to a unit."""
    times_s: Vector = np.array([10.0 * unit for unit in range(len(rows) + 1)])
    return topic_starts(TermMatrix(rows), times_s, window=5, min_topic_s=min_topic_s, max_topics=max_topics)


@given(rows=ROWS)
def test_similarities_are_cosines(rows: list[list[str]]) -> None:
    matrix, cosines = TermMatrix(rows), dense(rows) @ dense(rows).T
    for unit in range(len(rows)):
        np.testing.assert_allclose(matrix.similarity_to(unit), cosines[unit], atol=1e-9)


@given(rows=ROWS)
def test_centrality_is_pagerank_on_the_cosines_between_different_units(rows: list[list[str]]) -> None:
    """The fixed point of rank = (1 - d) / n + d * rank * W / row sums, up to scale, with the whole matrix W."""
    between = dense(rows) @ dense(rows).T
    np.fill_diagonal(between, 0.0)
    sums = between.sum(axis=1, keepdims=True)
    walk = np.divide(between, sums, out=np.zeros_like(between), where=sums > 1e-9)
    rank = np.full(len(rows), 1.0 / len(rows))
    for _ in range(500):
        rank = (1 - DAMPING) / len(rows) + DAMPING * rank @ walk
        rank /= rank.sum()
    np.testing.assert_allclose(centrality(TermMatrix(rows), num_rounds=500), rank / rank.max(), atol=1e-5)


def test_the_unit_that_has_something_in_common_with_all_others_is_the_most_central() -> None:
    rows = [["tea"], ["milk"], ["tea", "milk", "sugar"], ["sugar"], ["rain"]]
    rank = centrality(TermMatrix(rows))
    assert int(rank.argmax()) == 2
    assert int(rank.argmin()) == 4


@given(rows=ROWS)
def test_cohesion_is_the_cosine_of_the_text_before_and_after_a_gap(rows: list[list[str]]) -> None:
    units, window = dense(rows), 3
    expected = []
    for gap in range(1, len(rows)):
        before, after = units[max(0, gap - window) : gap].sum(axis=0), units[gap : gap + window].sum(axis=0)
        norms = np.sqrt((before**2).sum() * (after**2).sum())
        expected.append(float((before * after).sum() / norms) if norms > 1e-9 else 0.0)
    np.testing.assert_allclose(cohesion(TermMatrix(rows), window), np.array(expected), atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_new_topic_begins_where_the_words_change_and_nowhere_else(seed: int) -> None:
    """Each row draws three of its topic's four terms, so that chance makes shallow valleys as well."""
    assert starts_of(topical("abcd", "efgh", "ijkl", seed=seed)) == [0, 20, 40]


def test_the_deepest_valleys_win_where_only_so_many_topics_are_allowed() -> None:
    """The second change keeps two words of three."""
    rows = [*[["x", "y", "z"]] * 20, *[["a", "b", "c"]] * 20, *[["a", "b", "d"]] * 20]
    assert starts_of(rows) == [0, 20, 40]
    assert starts_of(rows, max_topics=2) == [0, 20]


def test_where_the_words_never_change_there_is_one_topic() -> None:
    assert starts_of([["same", "words", "again"]] * 60) == [0]


def test_topics_are_not_shorter_than_allowed() -> None:
    rows = topical("abcd", "efgh", "ijkl", "mnop", each=6)
    assert starts_of(rows) == [0, 6, 12, 18]
    assert len(starts_of(rows, min_topic_s=61.0)) < 4


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [["a"]], [["a"], []]])
def test_next_to_nothing_is_no_error(rows: list[list[str]]) -> None:
    matrix = TermMatrix(rows)
    assert centrality(matrix).shape == (len(rows),)
    assert starts_of(rows) == [0]
    assert choose(matrix, np.zeros(len(rows)), 3) == []


def test_what_was_said_already_gives_way_to_what_is_new() -> None:
    """Unit 1 is worth more than unit 2, but repeats half of unit 0."""
    rows = [["tea", "milk"], ["tea", "sugar"], ["rain", "wind"]]
    assert choose(TermMatrix(rows), np.array([1.0, 0.9, 0.8]), 2) == [0, 2]


def test_the_same_again_is_never_chosen() -> None:
    rows = [["tea", "milk"], ["tea", "milk"], ["rain"]]
    assert choose(TermMatrix(rows), np.array([1.0, 0.9, 0.1]), 3) == [0, 2]


def test_what_is_worth_nothing_is_never_chosen() -> None:
    assert choose(TermMatrix([["tea"], ["rain"]]), np.array([1.0, 0.0]), 2) == [0]
