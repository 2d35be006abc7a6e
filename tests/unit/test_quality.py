"""What a result says about how far it can be trusted."""

from __future__ import annotations

import pytest

from worker.models import (
    Diarization,
    LanguageVote,
    Passage,
    SpeakerTurn,
    Transcript,
    Word,
)
from worker.quality import quality_of
from worker.turns import assign_speakers


def word(start_s: float, end_s: float, text: str = "word") -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s)


def transcript(*words: Word, passages: tuple[Passage, ...] = (), vote: LanguageVote | None = None) -> Transcript:
    return Transcript(words=words, language="en", engine="test", model="none", passages=passages, language_vote=vote)


def voices(*turns: tuple[float, float, str], speakers: tuple[int, int] | None = None) -> Diarization:
    track = tuple(SpeakerTurn(start_s=start_s, end_s=end_s, label=label) for start_s, end_s, label in turns)
    return Diarization(
        turns=track, exclusive=track, embeddings=(), diarizer="test", model="none", num_speakers_range=speakers
    )


def test_an_engine_that_says_nothing_about_itself_gives_no_figures() -> None:
    heard = transcript(word(0, 1))
    quality = quality_of(heard, None, assign_speakers(heard.words, None))
    assert (quality.doubtful_share, quality.overlap_share, quality.speakers) == (None, None, None)
    assert (quality.text_over_silence_share, quality.language, quality.doubtful) == (None, None, ())
    assert [segment.overlap_share for segment in quality.segments] == [None]


def test_the_doubtful_share_is_of_time_and_counts_only_doubts_that_are_left() -> None:
    passages = (
        Passage(start_s=0, end_s=30, text="clear"),
        Passage(start_s=30, end_s=40, text="again again", doubts=("repetition",)),
        Passage(start_s=40, end_s=60, text="better", decoding="sequential", other_text="bad"),
    )
    quality = quality_of(transcript(passages=passages), None, ())
    assert quality.doubtful_share == pytest.approx(10 / 60, abs=1e-4)
    assert quality.num_decoded_again == 1
    assert [(span.start_s, span.text, span.other_text) for span in quality.doubtful] == [
        (30, "again again", None),
        (40, "better", "bad"),
    ]


def test_overlap_is_where_two_voices_speak_out_of_where_anybody_does() -> None:
    """0-10 A, 8-12 B, 9-11 C: two or more from 8 to 11, anybody from 0 to 12."""
    found = voices((0, 10, "A"), (8, 12, "B"), (9, 11, "C"))
    words = (word(0, 4), word(4, 8), word(8, 12))
    quality = quality_of(transcript(*words), found, assign_speakers(words, found))
    assert quality.overlap_share == pytest.approx(3 / 12, abs=1e-4)


def test_each_segment_says_how_much_of_it_two_voices_share() -> None:
    found = voices((0, 4, "A"), (2, 3, "B"), (20, 24, "A"))
    words = (word(0, 4), word(20, 24))
    quality = quality_of(transcript(*words), found, assign_speakers(words, found))
    assert [(segment.index, segment.overlap_share) for segment in quality.segments] == [(0, 0.25), (1, 0.0)]


def test_a_segment_has_the_figures_of_the_passage_it_shares_most_time_with() -> None:
    passages = (
        Passage(start_s=0, end_s=5, text="a", avg_logprob=-0.1, compression_ratio=1.0),
        Passage(start_s=5, end_s=20, text="b", avg_logprob=-1.5, compression_ratio=3.0, doubts=("repetition",)),
    )
    words = (word(4, 5), word(5, 6), word(6, 7))
    quality = quality_of(transcript(*words, passages=passages), None, assign_speakers(words, None))
    assert [(s.avg_logprob, s.compression_ratio, s.doubts) for s in quality.segments] == [(-1.5, 3.0, ("repetition",))]


def test_words_where_nobody_is_heard_are_counted() -> None:
    """The soft end of a turn is no silence: within three quarters of a second somebody was heard."""
    found = voices((0, 2, "A"), (10, 12, "A"))
    words = (word(0, 1), word(2.2, 2.6), word(5, 6), word(10, 11))
    quality = quality_of(transcript(*words), found, assign_speakers(words, found))
    assert quality.text_over_silence_share == 0.25


@pytest.mark.parametrize(
    ("known", "expected"), [(None, (2, 2, 2, None)), ((2, 2), (2, 2, 2, False)), ((2, 4), (2, 2, 4, True))]
)
def test_the_number_of_speakers_is_doubtful_when_a_slightly_other_threshold_gives_another(
    known: tuple[int, int] | None, expected: tuple[int, int, int, bool | None]
) -> None:
    found = voices((0, 1, "A"), (1, 2, "B"), speakers=known)
    count = quality_of(transcript(), found, ()).speakers
    assert count is not None
    assert (count.found, count.fewest, count.most, count.is_doubtful) == expected


def test_the_languages_vote_is_kept() -> None:
    vote = LanguageVote(language="de", probability=0.4, is_doubtful=True)
    assert quality_of(transcript(vote=vote), None, ()).language == vote


def test_a_recording_in_which_nobody_speaks_has_no_overlap() -> None:
    assert quality_of(transcript(), voices(), ()).overlap_share == 0.0
