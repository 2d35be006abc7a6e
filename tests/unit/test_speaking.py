"""How each voice took part in a meeting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.models import Diarization, SpeakerTurn, SpeakingShare, TranscriptSegment
from worker.speaking import num_questions, speaking_shares

Turn = tuple[str, float, float]


def heard(*turns: Turn) -> Diarization:
    spans = tuple(SpeakerTurn(label=label, start_s=start_s, end_s=end_s) for label, start_s, end_s in turns)
    return Diarization(turns=spans, exclusive=spans, embeddings=(), diarizer="scripted", model="scripted")


def said(label: str | None, text: str, start_s: float = 0.0, end_s: float = 1.0) -> TranscriptSegment:
    return TranscriptSegment(
        index=0, start_s=start_s, end_s=end_s, speaker_label=label, text=text, confidence=None, words=()
    )


def shares(*turns: Turn) -> dict[str | None, SpeakingShare]:
    return {share.label: share for share in speaking_shares((), heard(*turns))}


def interruptions(*turns: Turn) -> dict[str | None, int]:
    return {label: share.num_interruptions for label, share in shares(*turns).items()}


def test_shares_are_of_all_talk_overlap_counted_for_everybody() -> None:
    found = shares(("A", 0, 30), ("B", 20, 30))
    assert (found["A"].speech_s, found["A"].share) == (30, 0.75)
    assert (found["B"].speech_s, found["B"].share) == (10, 0.25)


def test_a_turn_goes_on_over_a_short_pause() -> None:
    """Three stretches, the second after half a second, the third after two."""
    found = shares(("A", 0, 4), ("A", 4.5, 7), ("A", 9, 10))["A"]
    assert (found.num_turns, found.longest_turn_s, found.speech_s) == (2, 7, 7.5)


def test_what_the_diarizer_tells_twice_counts_once() -> None:
    assert shares(("A", 0, 4), ("A", 2, 6))["A"].speech_s == 6


def test_who_begins_in_anothers_turn_and_goes_on_after_it_interrupts() -> None:
    assert interruptions(("A", 0, 10), ("B", 9, 15)) == {"A": 0, "B": 1}


@pytest.mark.parametrize(
    ("why", "turns"),
    [
        ("feedback of a listener", (("A", 0, 10), ("B", 5, 5.6))),
        ("a try that is given up", (("A", 0, 10), ("B", 5, 9))),
        ("an overlap of a moment where speakers change", (("A", 0, 10), ("B", 9.7, 15))),
        ("a word at the end", (("A", 0, 10), ("B", 9.4, 10.9))),
        ("a pause of the other", (("A", 0, 10), ("B", 10, 15), ("A", 10.9, 11))),
        ("two who begin at once", (("A", 0, 3), ("B", 0.6, 15))),
        ("one after the other", (("A", 0, 10), ("B", 10, 15))),
    ],
)
def test_it_is_no_interruption(why: str, turns: tuple[Turn, ...]) -> None:
    assert set(interruptions(*turns).values()) == {0}, why


def test_one_turn_interrupts_once_however_many_were_speaking() -> None:
    assert interruptions(("A", 0, 10), ("B", 0, 10), ("C", 8, 15)) == {"A": 0, "B": 0, "C": 1}


def test_who_was_interrupted_may_interrupt_back() -> None:
    assert interruptions(("A", 0, 10), ("B", 9, 20), ("A", 19, 25)) == {"A": 1, "B": 1}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Is it? Yes. Is it really?!", 2),
        ('"Is it?" he said.', 1),
        ("No question.", 0),
        ("¿Qué hora es?", 1),
        ("\u662f\u5417\uff1f\u4e0d\u662f\u3002\u771f\u7684\uff1f", 2),
        ("هل هذا صحيح؟", 1),
        ("\u03a4\u03b9;\u037e", 1),
        ("\u0563\u0561\u056c\u056b\u055e\u057d \u0565\u0584", 1),
        ("What??? Well\u203d", 2),
        ("See example.org/a?b=c for it.", 0),
        ("", 0),
    ],
)
def test_questions_are_found_in_many_scripts(text: str, number: int) -> None:
    assert num_questions([text]) == number


def test_questions_count_for_who_asks_them() -> None:
    segments = (said("A", "Is it? Is it?"), said("B", "It is."), said(None, "Really?"))
    found = speaking_shares(segments, heard(("A", 0, 5), ("B", 5, 10)))
    assert [(share.label, share.num_questions) for share in found] == [("A", 2), ("B", 0)]


def test_where_nobody_was_told_apart_there_is_one_for_everybody() -> None:
    (share,) = speaking_shares((said(None, "Is it?", 0, 4), said(None, "It is.", 4, 9)), None)
    assert (share.label, share.speech_s, share.share, share.num_turns, share.num_questions) == (None, 9, 1, 1, 1)


def test_silence_gives_nothing() -> None:
    assert speaking_shares((), None) == speaking_shares((), heard()) == speaking_shares((), heard(("A", 1, 1))) == ()


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 100), st.integers(0, 20)), max_size=30))
def test_figures_add_up_in_whatever_order_turns_come(raw: list[tuple[str, int, int]]) -> None:
    turns = [(label, start / 2, (start + length) / 2) for label, start, length in raw]
    found = speaking_shares((), heard(*turns))
    assert found == speaking_shares((), heard(*reversed(turns)))
    assert not found or sum(share.share for share in found) == pytest.approx(1, abs=0.001)
    assert all(share.num_interruptions <= share.num_turns and share.longest_turn_s > 0 for share in found)
