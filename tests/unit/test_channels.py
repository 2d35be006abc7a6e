"""Two transcripts, one per person, become one meeting: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.channels import channel_segments, merged, told_apart, wished_channels
from worker.models import Alignment, Meeting, Passage, ResultWarning, Transcript, Word
from worker.quality import quality_of


def word(text: str, start_s: float, end_s: float, channel: int | None = None) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s, channel=channel)


def transcript(*words: Word, **fields: object) -> Transcript:
    return Transcript.model_validate(
        {"words": words, "language": "en", "engine": "scripted", "model": "none"} | fields,
    )


def texts(words: tuple[Word, ...]) -> list[tuple[str | None, str]]:
    return [(segment.speaker_label, segment.text) for segment in channel_segments(words)]


QUESTION = transcript(word("how", 1.0, 1.2), word("are", 1.3, 1.5), word("you", 1.6, 1.8), word("really", 3.0, 3.4))
ANSWER = transcript(word("fine", 2.1, 2.6), word("hm", 3.1, 3.2), language="de")


def test_words_are_merged_in_the_order_of_time_and_know_their_channel() -> None:
    both = merged((ANSWER, QUESTION), main=1)
    assert [(w.text, w.channel) for w in both.words] == [
        ("how", 1),
        ("are", 1),
        ("you", 1),
        ("fine", 0),
        ("really", 1),
        ("hm", 0),
    ]
    assert both.language == "en"


def test_the_language_is_that_of_the_main_channel_or_of_the_one_that_speaks() -> None:
    assert merged((QUESTION, ANSWER), main=1).language == "de"
    assert merged((QUESTION, transcript(language=None)), main=1).language == "en"


def test_warnings_of_both_are_there_once_and_estimated_words_are_counted_together() -> None:
    rough, late = (ResultWarning(code=code, message="m") for code in ("transcript_rough", "late"))
    aligned = [Alignment(model="m", language="en", num_estimated=number) for number in (2, 3)]
    both = merged(
        (
            transcript(warnings=(rough,), alignment=aligned[0]),
            transcript(warnings=(rough, late), alignment=aligned[1]),
        ),
        main=0,
    )
    assert both.warnings == (rough, late)
    assert both.alignment is not None
    assert both.alignment.num_estimated == 5
    assert merged((transcript(), transcript(alignment=aligned[1])), main=0).alignment == aligned[1]


def test_who_speaks_first_is_the_first_speaker_and_an_answer_stands_after_its_question() -> None:
    """Although the channel that asks is the second one, and pauses for less than a second."""
    both = merged((ANSWER, QUESTION), main=0)
    assert texts(both.words) == [
        ("SPEAKER_00", "how are you"),
        ("SPEAKER_01", "fine"),
        ("SPEAKER_00", "really"),
        ("SPEAKER_01", "hm"),
    ]


def test_what_is_said_at_the_same_time_stays_whole() -> None:
    """Words of both in turns would be read by nobody."""
    own = [word(text, index * 0.3, index * 0.3 + 0.3, 0) for index, text in enumerate("abcdef")]
    other = [word(text, index * 0.3 + 0.1, index * 0.3 + 0.3, 1) for index, text in enumerate("uvwxyz")]
    words = tuple(sorted(own + other, key=lambda w: w.start_s))
    assert texts(words) == [("SPEAKER_00", "a b c d e f"), ("SPEAKER_01", "u v w x y z")]


def test_turns_overlap_where_both_speak_and_the_exclusive_ones_do_not() -> None:
    words = (word("a", 0.0, 1.0, 0), word("b", 0.8, 2.0, 1), word("c", 1.2, 1.5, 0), word("d", 4.0, 5.0, 0))
    voices = told_apart(words)
    assert [(t.start_s, t.end_s, t.label) for t in voices.turns] == [
        (0.0, 1.5, "SPEAKER_00"),
        (0.8, 2.0, "SPEAKER_01"),
        (4.0, 5.0, "SPEAKER_00"),
    ]
    assert [(t.start_s, t.end_s) for t in voices.exclusive] == [(0.0, 1.5), (1.5, 2.0), (4.0, 5.0)]
    assert voices.embeddings == ()
    assert voices.diarizer == "channels"


@pytest.mark.parametrize("words", [(), (word("a", 0.0, 1.0, 1),)])
def test_a_silent_channel_is_nobody(words: tuple[Word, ...]) -> None:
    assert {turn.label for turn in told_apart(words).turns} == ({"SPEAKER_00"} if words else set())
    assert len(channel_segments(words)) == len(words)


words_of_both = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 20), st.sampled_from([0, 1])), max_size=40).map(
    lambda rows: tuple(word(f"w{i}", a / 10, (a + b) / 10, c) for i, (a, b, c) in enumerate(sorted(rows)))
)


@given(words_of_both)
def test_no_word_is_lost_and_each_stands_under_its_channel(words: tuple[Word, ...]) -> None:
    """Segments are numbered in the order in which they begin; each is of one speaker; each channel keeps its order."""
    segments = channel_segments(words)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert [segment.start_s for segment in segments] == sorted(segment.start_s for segment in segments)
    labels = {segment.speaker_label: {w.channel for w in segment.words} for segment in segments}
    assert all(len(channels) == 1 for channels in labels.values())
    for channel in (0, 1):
        written = [w for segment in segments for w in segment.words if w.channel == channel]
        assert sorted(written, key=lambda w: w.text) == sorted(
            (w for w in words if w.channel == channel), key=lambda w: w.text
        )


@given(words_of_both)
def test_exclusive_turns_cover_the_same_time_without_overlap(words: tuple[Word, ...]) -> None:
    voices = told_apart(words)
    for before, after in zip(voices.exclusive, voices.exclusive[1:], strict=False):
        assert before.end_s <= after.start_s
    assert max((t.end_s for t in voices.exclusive), default=0.0) == max(
        (t.end_s for t in voices.turns if t.end_s > 0), default=0.0
    )


def test_quality_goes_by_the_passages_of_the_own_channel() -> None:
    """Those of the other one may lie over them."""
    passages = [Passage(start_s=0.0, end_s=9.0, text="", avg_logprob=-0.1)]
    others = [Passage(start_s=7.0, end_s=8.9, text="", avg_logprob=-0.9)]
    both = merged(
        (transcript(word("a", 7.0, 8.0), passages=passages), transcript(word("b", 7.5, 8.5), passages=others)), main=0
    )
    quality = quality_of(both, told_apart(both.words), channel_segments(both.words))
    assert [segment.avg_logprob for segment in quality.segments] == [-0.1, -0.9]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, None),
        ({"channels": "mixed"}, "mixed"),
        ({"channels": "separate"}, "separate"),
        ({"min_speakers": 2, "max_speakers": 2}, None),
        ({"min_speakers": 1}, None),
        ({"min_speakers": 3}, "mixed"),
        ({"max_speakers": 1}, "mixed"),
        ({"max_speakers": 4}, "mixed"),
        ({"max_speakers": 4, "channels": "separate"}, "separate"),
    ],
)
def test_a_number_of_speakers_other_than_two_means_mixed(asked: dict[str, object], told: str | None) -> None:
    """Unless the meeting says that each channel is one person's all the same."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    meeting = Meeting.model_validate({"id": uuid4(), "created_at": now, "updated_at": now} | asked)
    assert wished_channels(meeting) == told
