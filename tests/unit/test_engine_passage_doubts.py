"""What speaks against a passage, and which of two texts is kept."""

from __future__ import annotations

import math

import pytest

from worker.engine.passage_doubts import (
    assessed,
    better,
    compression_ratio,
    is_loop,
    most_doubtful_first,
    transcript_doubtful,
)
from worker.models import Passage

SENSE = "We begin with the budget, and after that Henry tells us how far the new server is."
LOOP = "Thank you. " * 12


def passage(
    text: str = SENSE, avg_logprob: float = -0.3, speech_s: float = 8.0, start_s: float = 0.0, end_s: float = 10.0
) -> Passage:
    return assessed(start_s=start_s, end_s=end_s, text=text, avg_logprob=avg_logprob, speech_s=speech_s)


def test_a_sensible_passage_has_no_doubts_and_its_figures() -> None:
    found = passage(f" {SENSE} ")
    assert (found.text, found.doubts, found.avg_logprob, found.speech_s) == (SENSE, (), -0.3, 8.0)
    assert found.compression_ratio == pytest.approx(compression_ratio(SENSE), abs=1e-3)
    assert (found.decoding, found.other_text) == ("batched", None)


@pytest.mark.parametrize(
    ("found", "doubts"),
    [
        (passage(avg_logprob=-1.01), ("low_confidence",)),
        (passage(avg_logprob=-1.0), ()),
        (passage(avg_logprob=math.nan), ("low_confidence",)),
        (passage(LOOP), ("repetition",)),
        (passage(speech_s=0.5), ("over_silence",)),
        (passage("Yes.", speech_s=0.0), ()),
        (passage(LOOP, avg_logprob=-2.0, speech_s=1.0), ("low_confidence", "repetition", "over_silence")),
        (passage("", avg_logprob=-3.0, speech_s=0.0), ()),
    ],
)
def test_doubts(found: Passage, doubts: tuple[str, ...]) -> None:
    assert found.doubts == doubts


def test_figures_that_are_no_numbers_are_left_out() -> None:
    """They would be no JSON."""
    assert passage(avg_logprob=-math.inf).avg_logprob is None


@pytest.mark.parametrize(
    ("text", "is_a_loop"),
    [
        ("no no no no", False),
        ("no, no. No! no no no no no", True),
        (f"{SENSE} And so on, and so on, and so on, and so on.", True),
        ("and so on, and so on, and so on", False),
        ("one two three four five six seven eight", False),
        ("", False),
        ("a b c d " * 3, False),
        ("a b c d " * 4, True),
    ],
)
def test_loops_are_told_from_speech_that_repeats_itself(text: str, is_a_loop: bool) -> None:
    assert is_loop(text.split()) is is_a_loop


def test_text_without_spaces_repeats_itself_too() -> None:
    assert passage("会議を始めます。" + "はい" * 20).doubts == ("repetition",)
    assert passage("会議を始めます。はい、わかりました。").doubts == ()


# --- two decodings -----------------------------------------------------------------------------------------------


def second(text: str, avg_logprob: float = -0.5, speech_s: float = 8.0) -> Passage:
    return passage(text, avg_logprob, speech_s).model_copy(update={"decoding": "sequential"})


def test_fewer_doubts_win_over_a_higher_probability() -> None:
    chosen = better(passage(LOOP, avg_logprob=-0.1), second("Thank you.", avg_logprob=-0.9))
    assert (chosen.text, chosen.decoding, chosen.doubts) == ("Thank you.", "sequential", ())
    assert chosen.other_text == LOOP.strip()


def test_one_doubt_wins_over_two() -> None:
    first, less = passage(avg_logprob=-1.1, speech_s=0.5), second("Other words.", avg_logprob=-1.9, speech_s=0.5)
    assert (len(first.doubts), len(less.doubts)) == (2, 1)
    assert better(first, less).text == "Other words."


def test_of_equally_doubtful_ones_the_more_probable_wins() -> None:
    first = passage(avg_logprob=-1.5)
    assert better(first, second("Other words.", avg_logprob=-1.2)).text == "Other words."
    kept = better(first, second("Other words.", avg_logprob=-1.9))
    assert (kept.text, kept.decoding, kept.other_text) == (SENSE, "batched", "Other words.")


def test_of_two_loops_the_shorter_one_wins() -> None:
    worse, less = passage("Thank you. " * 40, avg_logprob=-0.1), second("Thank you. " * 10, avg_logprob=-0.4)
    assert better(worse, less).text == less.text


def test_the_first_text_stays_when_nothing_is_better() -> None:
    first = passage(LOOP)
    assert better(first, second(LOOP, avg_logprob=-0.3)).decoding == "batched"


def test_mumbled_words_are_not_replaced_by_nothing() -> None:
    kept = better(passage(avg_logprob=-1.5), second("", avg_logprob=math.nan))
    assert (kept.text, kept.doubts, kept.other_text) == (SENSE, ("low_confidence",), "")


@pytest.mark.parametrize("first", [passage(LOOP), passage(speech_s=0.3)], ids=["loop", "over silence"])
def test_text_that_nobody_said_is_left_out_when_whisper_hears_nothing_either(first: Passage) -> None:
    chosen = better(first, second("", avg_logprob=math.nan))
    assert (chosen.text, chosen.other_text, chosen.doubts) == ("", first.text, ())


def test_the_most_doubtful_come_first() -> None:
    low, lower, both = passage(avg_logprob=-1.2), passage(avg_logprob=-1.8), passage(LOOP, avg_logprob=-1.1)
    assert most_doubtful_first([low, passage(), both, lower]) == [both, lower, low]


@pytest.mark.parametrize(("doubtful_s", "warns"), [(20.0, False), (21.0, True)])
def test_more_than_a_fifth_of_doubtful_text_is_said(doubtful_s: float, warns: bool) -> None:
    good = passage(end_s=100.0 - doubtful_s)
    bad = passage(avg_logprob=-2.0, start_s=100.0, end_s=100.0 + doubtful_s)
    warning = transcript_doubtful([good, bad])
    assert (warning is not None) is warns
    assert transcript_doubtful([]) is None
