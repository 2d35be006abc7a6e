"""Word times around WhisperX: every word of a passage is kept, in order, inside its passage."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.asr_whisperx import MAX_SPAN_S, in_order, spans_of, with_times, words_of
from worker.models import Word


def passage(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start": start_s, "end": end_s, "avg_logprob": -0.5}


def test_a_passage_shares_its_time_by_characters() -> None:
    words = list(words_of(passage(" We must go.", 10.0, 19.0)))
    assert [(w.text, w.start_s, w.end_s) for w in words] == [
        ("We", 10.0, 12.0),
        ("must", 12.0, 16.0),
        ("go.", 16.0, 19.0),
    ]
    assert {w.confidence for w in words} == {0.6065}


def test_a_passage_without_words_gives_none() -> None:
    assert list(words_of(passage("  ", 0.0, 1.0))) == []


texts = st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=60)


@given(st.lists(st.tuples(texts, st.floats(0.5, 29.0)), min_size=1, max_size=5))
def test_passages_are_found_again_and_no_word_is_lost(passages: list[tuple[list[str], float]]) -> None:
    at_s = 0.0
    words: list[Word] = []
    expected: list[list[str]] = []
    for content, length_s in passages:
        expected.append(content)
        words += words_of(passage(" ".join(content), at_s, at_s + length_s))
        at_s += length_s + 1.0
    spans = list(spans_of(words))
    assert [word.text for span in spans for word in span] == [text for content in expected for text in content]
    assert [[word.text for word in span] for span in spans] == expected


def test_passages_that_touch_are_cut_before_they_are_too_long() -> None:
    words = [word for at in (0.0, 20.0, 40.0) for word in words_of(passage("one two three four", at, at + 20.0))]
    assert all(span[-1].end_s - span[0].start_s <= MAX_SPAN_S for span in spans_of(words))


SPAN = tuple(words_of(passage("pay 300 euros", 0.0, 3.0)))


def test_a_word_that_the_aligner_leaves_out_keeps_its_estimate() -> None:
    found: list[dict[str, Any]] = [
        {"word": "pay", "start": 0.2, "end": 0.5, "score": 0.9},
        {"word": "300"},
        {"word": "euros", "start": 2.0, "end": 2.6},
    ]
    words = list(with_times(SPAN, found))
    assert (words[0].start_s, words[0].end_s, words[0].confidence) == (0.2, 0.5, 0.9)
    assert words[1] == SPAN[1]
    assert (words[2].start_s, words[2].confidence) == (2.0, SPAN[2].confidence)


def test_an_aligner_that_counts_other_words_is_not_believed() -> None:
    assert tuple(with_times(SPAN, [{"word": "pay", "start": 0.0, "end": 1.0}])) == SPAN


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=30))
def test_times_never_run_backwards(times: list[tuple[float, float]]) -> None:
    words = list(in_order([Word(text="x", start_s=start_s, end_s=end_s) for start_s, end_s in times]))
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)
    assert all(word.start_s <= word.end_s for word in words)
