"""Words laid over what a CTC model heard: the best path, for every word, whatever characters it has."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.forced_alignment import Alphabet, word_spans

Array = npt.NDArray[np.float64]

ENGLISH = Alphabet({"<pad>": 0, "|": 1, "a": 2, "b": 3, "c": 4}, blank=0)
BLANK_LAST = Alphabet({"a": 0, "b": 1, "<pad>": 2}, blank=2)


def heard(frames: str, alphabet: Alphabet = ENGLISH, *, sure: float = 0.9) -> Array:
    """Log-probabilities of a model that hears these labels, one a frame; `.` is the blank."""
    num_labels = len(alphabet.labels)
    probs = np.full((len(frames), num_labels), (1 - sure) / (num_labels - 1))
    for frame, char in enumerate(frames):
        probs[frame, alphabet.blank if char == "." else alphabet.labels[char]] = sure
    log_probs: Array = np.log(probs)
    return log_probs


def noise(num_frames: int, num_labels: int, seed: int) -> Array:
    values: Array = np.random.default_rng(seed).normal(scale=2.0, size=(num_frames, num_labels))
    total: Array = np.logaddexp.reduce(values, axis=1, keepdims=True)
    return values - total


def frame_by_frame(log_probs: Array, tokens: list[int], blank: int) -> list[int] | None:
    """The trellis as whisperx fills it: where each token begins, and where the last one ends."""
    num_frames, num_tokens = len(log_probs), len(tokens)
    trellis = np.full((num_frames + 1, num_tokens + 1), -np.inf)
    trellis[:, 0] = np.concatenate([[0.0], np.cumsum(log_probs[:, blank])])
    for t in range(num_frames):
        stayed, changed = trellis[t, 1:] + log_probs[t, blank], trellis[t, :-1] + log_probs[t, tokens]
        trellis[t + 1, 1:] = np.maximum(stayed, changed)
    t = int(np.argmax(trellis[:, -1]))
    starts, token = [t], num_tokens
    while t > 0 and token > 0:
        t -= 1
        if trellis[t, token - 1] + log_probs[t, tokens[token - 1]] > trellis[t, token] + log_probs[t, blank]:
            token -= 1
            starts.append(t)
    return starts[::-1] if token == 0 else None


def test_a_word_lasts_from_its_first_character_until_the_gap_after_its_last_one() -> None:
    spans = word_spans(heard("..a.b..|.c.."), ["ab", "c"], ENGLISH)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(2, 7), (9, 10)]
    assert all(span.score == pytest.approx(0.9) for span in spans)


def test_a_word_that_was_hardly_heard_scores_low() -> None:
    sure, unsure = heard("a..|"), heard("b..", sure=0.4)
    spans = word_spans(np.concatenate([sure, unsure]), ["a", "b"], ENGLISH)
    assert spans is not None
    assert spans[0].score == pytest.approx(0.9)
    assert spans[1].score == pytest.approx(0.4)


@pytest.mark.parametrize("word", ["3", "€", "é", "İ"], ids=["digit", "sign", "accent", "two characters in lower case"])
def test_a_character_that_the_model_does_not_know_is_whatever_it_heard_best(word: str) -> None:
    spans = word_spans(heard("a.|.c..|.b"), ["a", word, "b"], ENGLISH)
    assert spans is not None
    assert (spans[1].start, spans[1].end) == (4, 7)


def test_upper_case_is_heard_as_lower_case() -> None:
    assert word_spans(heard("a.b"), ["AB"], ENGLISH) == word_spans(heard("a.b"), ["ab"], ENGLISH)


def test_in_languages_without_spaces_nothing_stands_between_words() -> None:
    unspaced = Alphabet(ENGLISH.labels, blank=0, has_spaces=False)
    spans = word_spans(heard("a..b."), ["a", "b"], unspaced)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(0, 3), (3, 4)]
    assert [span.score for span in spans] == [pytest.approx(0.9)] * 2


def test_an_alphabet_without_a_gap_and_with_its_blank_elsewhere_will_do() -> None:
    spans = word_spans(heard(".a..b.", BLANK_LAST), ["a", "|", "b"], BLANK_LAST)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(1, 4), (4, 4), (4, 5)], "a lone | has nothing to be heard"


@pytest.mark.parametrize(("frames", "words"), [("ab", ["abc"]), ("...", []), ("", ["a"])])
def test_what_does_not_fit_is_not_placed(frames: str, words: list[str]) -> None:
    assert word_spans(heard(frames), words, ENGLISH) is None


def test_words_of_nothing_but_unheard_signs_are_not_placed() -> None:
    assert word_spans(heard("a.b", BLANK_LAST), ["|"], BLANK_LAST) is None


def test_numbers_that_are_none_place_nothing() -> None:
    log_probs = heard("a.b")
    log_probs[1, 2] = np.nan
    assert word_spans(log_probs, ["ab"], ENGLISH) is None


words_of_noise = st.lists(st.text("abc|x1", min_size=1, max_size=6), min_size=1, max_size=12)


@given(words_of_noise, st.integers(0, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_the_path_is_the_best_one_as_found_frame_by_frame(words: list[str], slack: int, seed: int) -> None:
    """Whatever was heard, the words are placed in order, and where whisperx's trellis places them."""
    tokens = [ENGLISH.labels.get(char, 5) for char in "|".join(words)]
    log_probs = noise(len(tokens) + slack, len(ENGLISH.labels), seed)
    spans = word_spans(log_probs, words, ENGLISH)
    with_wildcard = np.column_stack([log_probs, log_probs[:, 1:].max(axis=1)])
    starts = frame_by_frame(with_wildcard, tokens, blank=0)
    assert spans is not None
    assert starts is not None
    first = 0
    for word, span in zip(words, spans, strict=True):
        assert (span.start, span.end) == (starts[first], starts[first + len(word)])
        assert 0 < span.score <= 1
        first += len(word) + 1
    assert all(before.end <= after.start for before, after in pairwise(spans))
