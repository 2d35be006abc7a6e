"""Error rates worked out by hand on small examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.speech_sample import sample_folder, write_rttm
from worker.engine.scoring import ReferenceScorer, normalised
from worker.exceptions import EngineError
from worker.models import SpeakerTurn, TranscriptSegment
from worker.scores import Scores

A_THEN_B = (SpeakerTurn(start_s=0, end_s=6, label="ann"), SpeakerTurn(start_s=4, end_s=10, label="bob"))


def score(
    *, rttm: Path | None = None, stm: Path | None = None, turns: tuple[SpeakerTurn, ...] = (), text: str = ""
) -> Scores:
    segment = TranscriptSegment(index=0, start_s=0, end_s=9, speaker_label=None, text=text, confidence=None, words=())
    return ReferenceScorer().score(
        reference_rttm=rttm, reference_stm=stm, turns=turns, segments=(segment,), duration_s=20.0
    )


def turn(start_s: float, end_s: float, label: str) -> SpeakerTurn:
    return SpeakerTurn(start_s=start_s, end_s=end_s, label=label)


def test_the_reference_itself_has_no_errors_whatever_the_labels_are(tmp_path: Path) -> None:
    ours = (turn(0, 6, "SPEAKER_01"), turn(4, 10, "SPEAKER_00"))
    scores = score(rttm=write_rttm(tmp_path / "r.rttm", A_THEN_B), turns=ours)
    assert scores.der == pytest.approx(0)
    assert (scores.num_speakers, scores.num_reference_speakers, scores.reference_speech_s) == (2, 2, 12)


@pytest.mark.parametrize(
    ("ours", "part", "seconds"),
    [
        ((turn(0, 5, "x"), turn(5, 10, "y")), "missed", 2.0),
        ((turn(0, 6, "x"), turn(4, 13, "y")), "false_alarm", 3.0),
        ((turn(0, 6, "x"), turn(4, 8, "y"), turn(8, 10, "x")), "confusion", 2.0),
    ],
    ids=["overlap counts twice", "talk into silence", "the wrong voice"],
)
def test_each_kind_of_error_counts_by_its_seconds(
    tmp_path: Path, ours: tuple[SpeakerTurn, ...], part: str, seconds: float
) -> None:
    """12 s of reference speech, of which 2 s overlap; no collar."""
    scores = score(rttm=write_rttm(tmp_path / "r.rttm", A_THEN_B), turns=ours)
    assert getattr(scores, part) == pytest.approx(seconds / 12)
    assert scores.der == pytest.approx(seconds / 12)


def test_words_are_compared_in_lower_case_without_punctuation(tmp_path: Path) -> None:
    stm = tmp_path / "r.stm"
    stm.write_text(";; a comment\nm 1 bob 2 3 <o,f0,male> I'm fine.\nm 1 ann 0 1 Hello, Bob!\n")
    scores = score(stm=stm, text="hello BOB i'm find — thanks")
    assert scores.wer == pytest.approx(2 / 4), "one substitution, one insertion, four reference words"
    assert (scores.num_words, scores.num_reference_words) == (5, 4)
    assert scores.der is None


def test_silence_instead_of_words_is_all_wrong() -> None:
    scores = score(stm=sample_folder() / "sample.stm")
    assert scores.wer == 1.0


def test_no_reference_no_rates() -> None:
    scores = score(text="hello")
    assert (scores.der, scores.wer, scores.num_words) == (None, None, 1)


def test_an_unreadable_reference_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "r.rttm"
    broken.write_text("SPEAKER file 1 zero 1 <NA> <NA> ann <NA> <NA>\n")
    short = tmp_path / "s.rttm"
    short.write_text("SPEAKER file 1\n")
    for path in (broken, short, tmp_path / "missing.rttm"):
        with pytest.raises(EngineError, match="reference"):
            score(rttm=path)
    with pytest.raises(EngineError, match="reference"):
        score(stm=short)


def test_normalisation_keeps_apostrophes_within_words() -> None:
    assert normalised("'Well' — there isn\N{RIGHT SINGLE QUOTATION MARK}t, you_know: 20 e-mails") == [
        "well", "there", "isn't", "you", "know", "20", "e", "mails"
    ]  # fmt: skip
