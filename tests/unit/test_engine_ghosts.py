"""Ghost speakers: which voices are ghosts, and whom they join."""

from __future__ import annotations

import pytest

from worker.engine.ghosts import find_ghost, ghost_merges, relabelled
from worker.models import SpeakerTurn


def turn(start_s: float, end_s: float, label: str) -> SpeakerTurn:
    return SpeakerTurn(start_s=start_s, end_s=end_s, label=label)


A, B = turn(0, 60, "A"), turn(61, 100, "B")


@pytest.mark.parametrize(
    ("speech_s", "longest_s", "found"),
    [
        ((60, 38, 1.9), (9, 9, 1.9), 2),
        ((60, 38, 2.1), (9, 9, 1.0), None),
        ((600, 380, 2.1), (9, 9, 2.1), None),
        ((600, 0.0), (9, 0.0), 1),
        ((1.0,), (1.0,), None),
        ((), (), None),
    ],
    ids=["little", "over 2 %", "a turn over 2 s", "nothing at all", "alone", "silence"],
)
def test_a_ghost_has_little_speech_and_only_short_turns(
    speech_s: tuple[float, ...], longest_s: tuple[float, ...], found: int | None
) -> None:
    assert find_ghost(speech_s, longest_s) == found


def test_a_ghost_joins_the_voice_that_it_resembles_most_even_if_another_is_nearer() -> None:
    vectors = {"A": (1.0, 0.0), "B": (0.0, 1.0), "G": (0.5, 3.0)}
    assert ghost_merges([A, B, turn(10, 11, "G")], vectors) == {"G": "B"}


@pytest.mark.parametrize(
    "vectors",
    [{}, {"A": (1.0, 0.0), "B": (0.0, 1.0)}, {"G": (1.0, 0.0)}],
    ids=["nobody has one", "the ghost has none", "the others have none"],
)
def test_without_a_vector_whoever_speaks_nearest_in_time_gets_it(vectors: dict[str, tuple[float, ...]]) -> None:
    assert ghost_merges([A, B, turn(101, 102, "G")], vectors) == {"G": "B"}


def test_a_vector_that_says_nothing_attracts_nobody() -> None:
    nothing = (float("nan"), 0.0)
    assert ghost_merges([A, B, turn(101, 102, "G")], {"A": nothing, "B": (0.1, 1.0), "G": (1.0, 0.0)}) == {"G": "B"}


def test_one_ghost_may_take_another_with_it() -> None:
    """The label that the first one joined is itself gone in the end; nobody points at it."""
    vectors = {"A": (1.0, 0.0), "G": (0.0, 1.0), "H": (0.0, 1.0)}
    merged = ghost_merges([turn(0, 300, "A"), turn(301, 302, "G"), turn(310, 310.5, "H")], vectors)
    assert merged == {"G": "A", "H": "A"}


def test_as_many_stay_as_somebody_asked_for() -> None:
    assert ghost_merges([A, B, turn(10, 11, "G")], {}, min_speakers=3) == {}


def test_people_are_left_alone() -> None:
    assert ghost_merges([A, B], {"A": (1.0,), "B": (1.0,)}) == {}
    assert ghost_merges([], {}) == {}


def test_new_labels_and_turns_that_now_overlap_or_touch_are_one() -> None:
    turns = [turn(0, 4, "A"), turn(3, 5, "G"), turn(4, 9, "B"), turn(5, 6, "A"), turn(8, 8.5, "A")]
    assert relabelled(turns, {"G": "A"}) == (turn(0, 6, "A"), turn(4, 9, "B"), turn(8, 8.5, "A"))


def test_without_ghosts_the_turns_stay() -> None:
    assert relabelled([B, A], {}) == (A, B)
