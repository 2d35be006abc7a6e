"""Words, their times and their passages: every word is kept, in order, inside the recording."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.passages import (
    MAX_PASSAGE_S,
    in_order,
    passages_of,
    stretches_of,
    words_of,
    written_words,
)
from worker.models import Passage, Transcript, Word


def passage(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start": start_s, "end": end_s, "avg_logprob": -0.5}


# --- words out of passages ---------------------------------------------------------------------------------------


def test_a_passage_shares_its_time_by_characters() -> None:
    """Its last word ends a millisecond early, so that the next passage can be told from it."""
    words = list(words_of(passage(" We must go.", 10.0, 19.0)))
    assert [(w.text, w.start_s, w.end_s) for w in words] == [
        ("We", 10.0, 12.0),
        ("must", 12.0, 16.0),
        ("go.", 16.0, 18.999),
    ]
    assert {w.confidence for w in words} == {0.6065}


def test_a_passage_without_words_gives_none() -> None:
    assert list(words_of(passage("  ", 0.0, 1.0))) == []


@pytest.mark.parametrize("avg_logprob", [None, float("nan")])
def test_a_passage_without_a_probability_gives_no_confidence(avg_logprob: float | None) -> None:
    words = words_of({"text": "yes", "start": 0.0, "end": 1.0, "avg_logprob": avg_logprob})
    assert [word.confidence for word in words] == [None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Let's go,\nshall we? ", ["Let's", "go,", "shall", "we?"]),
        ("今日は、会議です。", ["今", "日", "は、", "会", "議", "で", "す。"]),
        ("「はい」と", ["「は", "い」", "と"]),
        ("GPUを2台", ["GPU", "を", "2", "台"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("안녕 하세요", ["안녕", "하세요"]),
    ],
    ids=["english", "japanese", "quotes", "mixed", "thai marks", "korean has spaces"],
)
def test_words_are_what_spaces_part_or_characters_where_there_are_none(text: str, words: list[str]) -> None:
    """A Japanese passage of 30 s as one word could not be given to two speakers."""
    assert list(written_words(text)) == words


@given(st.text())
def test_no_character_is_lost(text: str) -> None:
    assert "".join(written_words(text)) == "".join(text.split())


texts = st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=60)


@given(st.lists(st.tuples(texts, st.floats(0.5, 30.1), st.sampled_from((0.0, 0.0, 0.3))), min_size=1, max_size=5))
def test_passages_are_found_again(passages: list[tuple[list[str], float, float]]) -> None:
    """Also where one begins when the other ends: the voice detector cuts long speech so. Also after a stay in JSON."""
    at_s = 0.0
    words: list[Word] = []
    for content, length_s, pause_s in passages:
        words += words_of(passage(" ".join(content), at_s, at_s + length_s))
        at_s += length_s + pause_s
    kept = Transcript(words=in_order(words, at_s), language="en", engine="x", model="y").model_dump_json()
    found = passages_of(Transcript.model_validate_json(kept).words)
    assert [[word.text for word in one] for one in found] == [content for content, _, _ in passages]


def test_words_of_another_origin_are_cut_before_a_passage_is_too_long() -> None:
    words = [Word(text="x", start_s=float(second), end_s=second + 1.0) for second in range(100)]
    found = list(passages_of(words))
    assert [word for one in found for word in one] == words
    assert all(one[-1].end_s - one[0].start_s <= MAX_PASSAGE_S for one in found)
    assert list(passages_of([])) == []


# --- words in their passages -------------------------------------------------------------------------------------


def timed(*times_s: tuple[float, float]) -> list[Word]:
    return [Word(text="x", start_s=start_s, end_s=end_s) for start_s, end_s in times_s]


def test_words_with_times_of_their_own_are_parted_by_the_list_of_passages() -> None:
    """They have pauses between them, and belong together all the same."""
    words = timed((1.0, 1.4), (2.0, 2.5), (9.0, 9.0), (9.99, 10.05), (10.2, 11.0), (40.0, 41.0))
    listed = [Passage(start_s=0.5, end_s=10.0, text=""), Passage(start_s=10.0, end_s=20.0, text="")]
    first, second = stretches_of(words[:5], listed)
    assert (first.words, first.start_s, first.end_s) == (tuple(words[:3]), 0.5, 10.0)
    assert (second.words, second.start_s, second.end_s) == (tuple(words[3:5]), 9.99, 20.0)
    assert [word for one in stretches_of(words, listed) for word in one.words] == words, "far behind its passage"


def test_a_word_before_all_passages_is_not_lost() -> None:
    (found,) = stretches_of(timed((0.0, 1.0)), [Passage(start_s=5.0, end_s=6.0, text="")])
    assert (found.start_s, found.end_s) == (0.0, 6.0)


def test_a_passage_that_is_too_long_is_cut_between_words() -> None:
    words = timed(*((float(second), second + 0.5) for second in range(100)))
    found = list(stretches_of(words, [Passage(start_s=0.0, end_s=100.0, text="")]))
    assert [word for one in found for word in one.words] == words
    assert all(one.end_s - one.start_s <= MAX_PASSAGE_S for one in found)
    assert len(found) == 3


def test_without_a_list_words_that_touch_are_a_passage() -> None:
    words = timed((1.0, 2.0), (2.0, 3.0), (3.5, 4.0))
    assert [(one.start_s, one.end_s, len(one.words)) for one in stretches_of(words)] == [(1.0, 3.0, 2), (3.5, 4.0, 1)]


# --- order -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-1, 100), st.floats(-1, 100)), max_size=30), st.floats(0.001, 120))
def test_times_never_run_backwards_nor_out_of_the_recording(times: list[tuple[float, float]], length_s: float) -> None:
    words = in_order([Word(text="x", start_s=start_s, end_s=end_s) for start_s, end_s in times], length_s)
    assert len(words) == len(times)
    assert all(0 <= word.start_s <= word.end_s <= length_s for word in words)
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))


def test_exact_times_stand() -> None:
    words = (Word(text="a", start_s=0.5, end_s=0.9), Word(text="b", start_s=0.9, end_s=1.3))
    assert in_order(words, 2.0) == words
