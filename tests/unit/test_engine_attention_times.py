"""Whisper's own word times, given to our words: its pieces are cut otherwise than they are."""

from __future__ import annotations

import pytest

from worker.engine.attention_times import shared_out
from worker.models import Word


def words(*texts: str) -> list[Word]:
    return [Word(text=text, start_s=0.0, end_s=9.0, confidence=0.5) for text in texts]


def times(placed: tuple[Word, ...] | None) -> list[tuple[str, float, float]]:
    assert placed is not None
    return [(word.text, word.start_s, word.end_s) for word in placed]


def test_a_piece_for_a_word_gives_it_its_time_and_probability() -> None:
    placed = shared_out(words("good", "morning."), [(" good", 1.0, 1.4, 0.9), (" morning.", 1.5, 2.0, 0.7)])
    assert times(placed) == [("good", 1.0, 1.4), ("morning.", 1.5, 2.0)]
    assert placed is not None
    assert [word.confidence for word in placed] == [0.9, 0.7]


def test_a_word_of_several_pieces_lasts_from_the_first_to_the_last() -> None:
    heard = [
        (" 3", 1.0, 1.2, 0.8),
        (",", 1.2, 1.2, 0.2),
        ("500", 1.3, 2.0, 0.5),
        (" €", 2.0, 2.5, 1.0),
        ("", 3.0, 3.0, 0.1),
    ]
    placed = shared_out(words("3,500", "€"), heard)
    assert times(placed) == [("3,500", 1.0, 2.0), ("€", 2.0, 2.5)]
    assert placed is not None
    assert placed[0].confidence == pytest.approx(0.5)


def test_words_within_one_piece_share_its_time() -> None:
    """Scripts without spaces: each character is a word."""
    assert times(shared_out(words("会", "議", "は"), [("会議", 1.0, 2.0, 1.0), ("は", 2.0, 2.2, 1.0)])) == [
        ("会", 1.0, 1.5),
        ("議", 1.5, 2.0),
        ("は", 2.0, 2.2),
    ]


@pytest.mark.parametrize(
    "heard", [[], [(" good", 1.0, 2.0, 1.0)], [(" good", 1.0, 2.0, 1.0), (" mourning.", 2.0, 3.0, 1.0)]]
)
def test_other_characters_give_no_times(heard: list[tuple[str, float, float, float]]) -> None:
    assert shared_out(words("good", "morning."), heard) is None
