"""Which parts of a recording describe a voice: single-voice speech, the longest, from all of its length."""

from __future__ import annotations

from itertools import pairwise

import pytest

from worker.engine.clean_speech import alone, clean_pieces
from worker.models import SpeakerTurn


def turns(*spans: tuple[float, float, str]) -> tuple[SpeakerTurn, ...]:
    return tuple(SpeakerTurn(start_s=start, end_s=end, label=label) for start, end, label in spans)


def test_only_what_one_voice_says_alone_counts() -> None:
    """Three at once, a turn within another's, and two turns of one voice that overlap."""
    spoken = turns((0, 10, "A"), (8, 12, "B"), (9, 11, "C"), (20, 30, "A"), (22, 23, "B"), (28, 31, "A"))
    assert {label: list(spans) for label, spans in alone(spoken).items()} == {
        "A": [(0, 8), (20, 22), (23, 28), (28, 30), (30, 31)],
        "B": [(11, 12)],
        "C": [],
    }


def test_pieces_lie_within_clean_speech_and_within_the_recording() -> None:
    pieces = clean_pieces(turns((0, 14, "A"), (12, 16, "B"), (16, 36, "B")), 2600, most_s=60.0)
    assert {label: (int(its[0][0]), int(its[-1][-1])) for label, its in pieces.items()} == {
        "A": (0, 1199),
        "B": (1400, 2599),
    }
    assert all(40 <= len(piece) <= 160 for its in pieces.values() for piece in its)


def test_who_says_little_is_heard_in_whole_stretches() -> None:
    """Under 10 s in all, however they are spread; a pause of over a second ends a stretch."""
    spoken = [(20.0, 24.0), (40.0, 43.0), (60.0, 62.9)]
    pieces = clean_pieces(turns(*((*span, "A") for span in spoken)), 10_000, most_s=60.0)["A"]
    assert [len(piece) for piece in pieces] == [400, 300, 290]
    pieces = clean_pieces(turns(*((*span, "A") for span in spoken), (80.0, 80.5, "A")), 10_000, most_s=60.0)["A"]
    assert max(len(piece) for piece in pieces) <= 160


def test_pauses_of_up_to_a_second_are_left_out_of_a_piece() -> None:
    (piece,) = clean_pieces(turns((0, 0.3, "A"), (0.9, 1.2, "A")), 1000, most_s=60.0)["A"]
    assert piece.tolist() == [*range(30), *range(90, 120)]


def test_words_too_short_to_tell_a_voice_are_left_out() -> None:
    assert clean_pieces(turns((0, 0.3, "A"), (5, 5.3, "A")), 1000, most_s=60.0) == {}


@pytest.mark.parametrize("most_s", [1.0, 10.0, 60.0, 1000.0])
def test_no_more_than_asked_for_is_taken(most_s: float) -> None:
    """One piece too much at most."""
    (pieces,) = clean_pieces(turns((0, 600, "A")), 60_000, most_s=most_s).values()
    taken_s = sum(len(piece) for piece in pieces) / 100
    assert min(most_s, 600) <= taken_s <= min(most_s + 2, 600)
    assert all(one[-1] < other[0] for one, other in pairwise(pieces))


def test_what_is_taken_is_spread_over_the_recording() -> None:
    """Of each tenth of an hour of talk something."""
    (pieces,) = clean_pieces(turns((0, 3600, "A")), 360_000, most_s=60.0).values()
    assert {int(piece[0]) // 36_000 for piece in pieces} == set(range(10))


def test_long_stretches_are_preferred() -> None:
    """Half a second here and there says less than sentences do."""
    spoken = [(10.0 * n, 10.0 * n + (8.0 if n % 2 else 0.5), "A") for n in range(100)]
    (pieces,) = clean_pieces(turns(*spoken), 100_000, most_s=60.0).values()
    assert all(len(piece) == 160 for piece in pieces)
