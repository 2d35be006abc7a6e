"""Words to speakers and segments: nothing is lost, and each word goes to whoever was heard saying it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.models import Diarization, SpeakerEmbedding, SpeakerTurn, TranscriptSegment, Word
from worker.turns import MAX_PAUSE_S, MAX_SEGMENT_S, assign_speakers, meeting_speakers

A, B = "SPEAKER_00", "SPEAKER_01"


def word(text: str, start_s: float, end_s: float, confidence: float | None = None) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s, confidence=confidence)


def turn(label: str, start_s: float, end_s: float) -> SpeakerTurn:
    return SpeakerTurn(label=label, start_s=start_s, end_s=end_s)


def heard(*exclusive: SpeakerTurn, turns: tuple[SpeakerTurn, ...] | None = None) -> Diarization:
    return Diarization(
        turns=exclusive if turns is None else turns, exclusive=exclusive, embeddings=(), diarizer="test", model="none"
    )


def read(segments: tuple[TranscriptSegment, ...]) -> list[tuple[str | None, str]]:
    return [(segment.speaker_label, segment.text) for segment in segments]


def evenly(text: str, start_s: float = 0.0, each_s: float = 0.5) -> list[Word]:
    """Words without pauses between them."""
    return [word(t, start_s + i * each_s, start_s + (i + 1) * each_s) for i, t in enumerate(text.split())]


# --- words to speakers -------------------------------------------------------------------------------------------


def test_a_word_belongs_to_the_voice_it_overlaps_most() -> None:
    words = [word("hello", 0.0, 1.0), word("there", 1.0, 2.0)]
    assert read(assign_speakers(words, heard(turn(A, 0.0, 1.4), turn(B, 1.4, 2.0)))) == [(A, "hello"), (B, "there")]


def test_overlap_with_several_turns_of_one_voice_adds_up() -> None:
    """0.3 + 0.3 s of A outweigh 0.4 s of B."""
    words = [word("well", 0.0, 1.0)]
    track = heard(turn(A, 0.0, 0.3), turn(B, 0.3, 0.7), turn(A, 0.7, 1.0))
    assert read(assign_speakers(words, track)) == [(A, "well")]


def test_where_people_talk_at_once_the_exclusive_track_decides() -> None:
    words = evenly("yes I think so")
    both = (turn(A, 0.0, 2.0), turn(B, 0.0, 2.0))
    track = heard(turn(A, 0.0, 1.0), turn(B, 1.0, 2.0), turns=both)
    assert read(assign_speakers(words, track)) == [(A, "yes I"), (B, "think so")]


def test_a_word_in_a_gap_goes_to_the_nearest_turn() -> None:
    words = [word("so", 1.1, 1.3), word("then", 1.7, 1.9)]
    assert read(assign_speakers(words, heard(turn(A, 0.0, 1.0), turn(B, 2.0, 3.0)))) == [(A, "so"), (B, "then")]


def test_a_word_far_from_every_turn_follows_its_neighbours() -> None:
    """The diarizer heard nothing after 1 s; the words go on without a pause."""
    words = evenly("this goes on and on and on")
    assert read(assign_speakers(words, heard(turn(A, 0.0, 1.0)))) == [(A, "this goes on and on and on")]


def test_between_two_voices_an_unheard_word_follows_the_nearer_one() -> None:
    words = evenly("a b c d e f g h i j")
    segments = assign_speakers(words, heard(turn(A, 0.0, 0.5), turn(B, 4.5, 5.0)), max_gap_s=0.1)
    assert read(segments) == [(A, "a b c d e"), (B, "f g h i j")]


def test_words_that_no_voice_is_near_are_nobodys() -> None:
    """A long pause on both sides: rather no name than a wrong one."""
    words = [word("hello", 0.0, 0.5), word("radio", 10.0, 10.5), word("bye", 20.0, 20.5)]
    segments = assign_speakers(words, heard(turn(A, 0.0, 0.5), turn(B, 20.0, 20.5)))
    assert read(segments) == [(A, "hello"), (None, "radio"), (B, "bye")]


def test_a_word_without_length_belongs_to_the_turn_around_it() -> None:
    words = [word("a", 0.5, 0.5), word("b", 1.5, 1.5)]
    assert read(assign_speakers(words, heard(turn(A, 0.0, 1.0), turn(B, 1.0, 2.0)))) == [(A, "a"), (B, "b")]


def test_a_flicker_of_the_diarizer_does_not_cut_a_sentence() -> None:
    words = evenly("we could meet on Friday then", each_s=0.25)
    track = heard(turn(A, 0.0, 0.5), turn(B, 0.5, 0.72), turn(A, 0.72, 1.5))
    assert read(assign_speakers(words, track)) == [(A, "we could meet on Friday then")]


def test_a_short_answer_in_a_turn_of_its_own_stays() -> None:
    """The word lasts 0.2 s, but its voice is heard for 0.34 s in the room that the neighbours leave."""
    words = [word("right?", 0.0, 1.0), word("mhm", 1.2, 1.4), word("good", 1.6, 2.0)]
    track = heard(turn(A, 0.0, 1.05), turn(B, 1.13, 1.47), turn(A, 1.55, 2.0))
    assert read(assign_speakers(words, track)) == [(A, "right?"), (B, "mhm"), (A, "good")]


def test_a_single_word_between_pauses_is_no_island() -> None:
    """After a second of silence a short "yes" is an answer, however short its turn."""
    words = [word("ready?", 0.0, 1.0), word("yes", 2.2, 2.4), word("go", 3.6, 4.0)]
    track = heard(turn(A, 0.0, 1.0), turn(B, 2.2, 2.4), turn(A, 3.6, 4.0))
    assert [label for label, _ in read(assign_speakers(words, track))] == [A, B, A]


def test_without_a_diarizer_segments_have_no_speaker_and_end_at_pauses() -> None:
    words = [*evenly("first thought", 0.0), *evenly("second thought", 1.0 + MAX_PAUSE_S)]
    assert read(assign_speakers(words, None)) == [(None, "first thought"), (None, "second thought")]


def test_a_diarizer_that_heard_nobody_costs_no_words() -> None:
    assert read(assign_speakers(evenly("is anybody there"), heard())) == [(None, "is anybody there")]


def test_silence_gives_no_segments() -> None:
    assert assign_speakers([], heard(turn(A, 0.0, 1.0))) == ()


# --- words to segments -------------------------------------------------------------------------------------------


def test_a_short_pause_does_not_end_a_segment() -> None:
    words = [*evenly("well", 0.0), *evenly("maybe", 0.5 + MAX_PAUSE_S - 0.1)]
    assert read(assign_speakers(words, None)) == [(None, "well maybe")]


def test_a_long_speech_is_cut_at_a_full_stop() -> None:
    """60 s without a pause; the one full stop in the second half of the allowed length is where it is cut."""
    texts = ["word"] * 120
    texts[44] = "end."
    segments = assign_speakers(evenly(" ".join(texts)), None)
    assert segments[0].text.endswith("word end.")
    assert len(segments[0].words) == 45


def test_a_long_speech_without_punctuation_is_cut_at_its_longest_pause() -> None:
    words = [*evenly("word " * 50), *evenly("word " * 50, 25.4)]
    assert [len(segment.words) for segment in assign_speakers(words, None)] == [50, 50]


def test_a_single_word_longer_than_a_segment_stays_whole() -> None:
    words = [word("ooooh", 0.0, 2 * MAX_SEGMENT_S), *evenly("yes", 2 * MAX_SEGMENT_S)]
    assert read(assign_speakers(words, None)) == [(None, "ooooh"), (None, "yes")]


def test_text_has_spaces_only_where_the_script_has_them() -> None:
    japanese = [
        word(t, i * 0.2, i * 0.2 + 0.2) for i, t in enumerate(["今", "日", "は", "、", "Python", "で", "す", "。"])
    ]
    assert assign_speakers(japanese, None)[0].text == "今日は、 Python です。"
    assert assign_speakers([word(" Hello", 0, 1), word("", 1, 1), word("you ", 1, 2)], None)[0].text == "Hello you"


def test_confidence_is_weighted_by_duration_and_skips_words_without_one() -> None:
    words = [word("a", 0.0, 3.0, 1.0), word("b", 3.0, 4.0, 0.0), word("c", 4.0, 9.0)]
    assert assign_speakers(words, None)[0].confidence == pytest.approx(0.75)
    assert assign_speakers([word("a", 0.0, 1.0)], None)[0].confidence is None
    assert assign_speakers([word("a", 1.0, 1.0, 0.2), word("b", 1.0, 1.0, 0.4)], None)[0].confidence == pytest.approx(
        0.3
    )


# --- the voices of a meeting -------------------------------------------------------------------------------------


def test_each_voice_is_listed_with_its_speech_and_embeddings() -> None:
    """In the order in which they are read; a voice without a word comes last and is kept."""
    voices = tuple(
        SpeakerEmbedding(label=label, model="m", dim=2, vector=(1.0, 0.0), speech_s=1.0)
        for label in (A, B, "SPEAKER_02")
    )
    turns = (turn(A, 0.0, 2.0), turn(A, 1.0, 3.0), turn(B, 2.5, 4.5), turn("SPEAKER_02", 9.0, 9.5))
    found = heard(turn(A, 0.0, 2.5), turn(B, 2.5, 4.5), turns=turns).model_copy(update={"embeddings": voices})
    segments = assign_speakers([word("b", 3.0, 4.0), word("a", 4.1, 4.2)], found)
    speakers = meeting_speakers(segments, found)
    assert [(s.label, s.speech_s) for s in speakers] == [(B, 2.0), (A, 3.0), ("SPEAKER_02", 0.5)]
    assert all([e.label for e in speaker.embeddings] == [speaker.label] for speaker in speakers)


def test_without_a_diarizer_there_are_no_voices() -> None:
    assert meeting_speakers(assign_speakers(evenly("hello"), None), None) == ()


# --- properties --------------------------------------------------------------------------------------------------

TIMES_S = st.floats(min_value=0.0, max_value=120.0, allow_nan=False).map(lambda s: round(s, 2))
LENGTHS_S = st.one_of(st.just(0.0), st.floats(min_value=0.0, max_value=3.0).map(lambda s: round(s, 2)))
CONFIDENCES = st.none() | st.floats(min_value=0.0, max_value=1.0)
WORDS = st.lists(
    st.builds(
        lambda text, start_s, length_s, confidence: word(text, start_s, start_s + length_s, confidence),
        st.sampled_from(["yes", "no.", "你", "", "well?", " um"]),
        TIMES_S,
        LENGTHS_S,
        CONFIDENCES,
    ),
    max_size=60,
)
IN_ORDER = WORDS.map(lambda words: sorted(words, key=lambda w: w.start_s))
TURNS = st.lists(
    st.builds(
        lambda label, start_s, length_s: turn(label, start_s, start_s + length_s),
        st.sampled_from([A, B]),
        TIMES_S,
        LENGTHS_S,
    ),
    max_size=30,
).map(lambda turns: sorted(turns, key=lambda t: t.start_s))
DIARIZATIONS = st.none() | TURNS.map(lambda turns: heard(*turns))


@given(words=WORDS, diarization=DIARIZATIONS)
def test_no_word_is_lost_changed_or_moved(words: list[Word], diarization: Diarization | None) -> None:
    """Whatever comes in: words out of order, without length or text, turns that overlap although they must not."""
    segments = assign_speakers(words, diarization)
    assert [w for segment in segments for w in segment.words] == words
    assert [segment.index for segment in segments] == list(range(len(segments)))


@given(words=IN_ORDER, diarization=DIARIZATIONS)
def test_segments_are_in_order_of_time_and_as_long_as_their_words(
    words: list[Word], diarization: Diarization | None
) -> None:
    segments = assign_speakers(words, diarization)
    assert all(one.start_s <= other.start_s for one, other in pairwise(segments))
    assert all(segment.start_s <= w.start_s <= w.end_s <= segment.end_s for segment in segments for w in segment.words)
    assert all(segment.confidence is None or 0.0 <= segment.confidence <= 1.0 + 1e-9 for segment in segments)


@given(words=IN_ORDER, diarization=DIARIZATIONS)
def test_a_segment_is_short_unless_it_is_one_word(words: list[Word], diarization: Diarization | None) -> None:
    segments = assign_speakers(words, diarization, max_segment_s=5.0)
    assert all(s.words[-1].end_s - s.start_s <= 5.0 + 1e-9 for s in segments if len(s.words) > 1)


@given(words=IN_ORDER, turns=TURNS)
def test_a_word_within_one_voice_and_far_from_others_is_that_voices(
    words: list[Word], turns: list[SpeakerTurn]
) -> None:
    """Smoothing and neighbours never overrule a voice that was clearly heard: half a second, alone."""
    segments = assign_speakers(words, heard(*turns))
    for segment in segments:
        for w in segment.words:
            around = {t.label for t in turns if t.start_s < w.end_s + 1e-6 and t.end_s > w.start_s - 1e-6}
            inside = [t for t in turns if t.start_s <= w.start_s and w.end_s <= t.end_s and w.end_s - w.start_s >= 0.5]
            if inside and len(around) == 1:
                assert segment.speaker_label in around
