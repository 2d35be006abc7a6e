"""PocketSphinx on real speech. Its text is rough; what it promises is times, order, confidence and honesty."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, sample_folder, write_wav
from worker.engine.asr_sphinx import SphinxTranscriber
from worker.engine.scoring import ReferenceScorer
from worker.exceptions import AudioPreprocessingError, UnsupportedLanguageError
from worker.models import Transcript, TranscriptSegment


def run(transcriber: SphinxTranscriber, audio: Path, language: str | None = None) -> Transcript:
    return transcriber.transcribe(audio, language=language, prompt=None, hotwords=None, report=lambda _: None)


@pytest.fixture(scope="module")
def progress() -> list[float]:
    return []


@pytest.fixture(scope="module")
def transcript(transcriber: SphinxTranscriber, sample: Path, progress: list[float]) -> Transcript:
    return transcriber.transcribe(sample, language=None, prompt=None, hotwords=None, report=progress.append)


@pytest.fixture
def greeting(sample: Path, tmp_path: Path) -> Path:
    """The first four seconds of talk."""
    return write_wav(tmp_path / "greeting.wav", read_sound(sample)[6 * RATE_HZ : 10 * RATE_HZ])


def test_words_are_timed_in_order_inside_the_recording(transcript: Transcript) -> None:
    assert len(transcript.words) > 30
    assert all(0 <= word.start_s < word.end_s <= 30.0 for word in transcript.words)
    assert all(a.end_s <= b.start_s + 0.011 for a, b in pairwise(transcript.words)), "at most a frame shared"
    assert transcript.words[0].start_s == pytest.approx(6.7, abs=0.3), "the reference has 'Hello?' at 6.68 s"


def test_words_are_words_with_a_probability(transcript: Transcript) -> None:
    """No fillers (<sil>, [NOISE]), no marks of alternate pronunciations: read(2)."""
    assert all(word.text.replace("'", "").replace(".", "").replace("-", "").isalpha() for word in transcript.words)
    assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in transcript.words)


def test_it_understands_something(transcript: Transcript) -> None:
    """A telephone conversation, a model of read speech: about four words in five are wrong. By chance it were all."""
    text = " ".join(word.text for word in transcript.words)
    segment = TranscriptSegment(
        index=0, start_s=0, end_s=30, speaker_label=None, text=text, confidence=None, words=transcript.words
    )
    scores = ReferenceScorer().score(
        reference_rttm=None, reference_stm=sample_folder() / "sample.stm", turns=(), segments=(segment,), duration_s=30
    )
    assert scores.wer is not None
    print(f"WER {scores.wer:.1%}")
    assert scores.wer < 0.9


def test_it_says_who_wrote_this_and_that_it_is_rough(transcript: Transcript) -> None:
    assert (transcript.engine, transcript.language) == ("sphinx", "en")
    assert transcript.model.startswith("pocketsphinx-5")
    assert [warning.code for warning in transcript.warnings] == ["transcript_rough"]


@pytest.mark.usefixtures("transcript")
def test_progress_grows_to_one(progress: list[float]) -> None:
    assert progress == sorted(progress)
    assert len(progress) > 20
    assert progress[-1] == 1.0


@pytest.mark.usefixtures("transcript")
def test_nothing_is_left_over_from_one_meeting_to_the_next(transcriber: SphinxTranscriber, greeting: Path) -> None:
    """Parts of the engine adapt to what they hear; a warm one must not carry that on."""
    warm = run(transcriber, greeting, "en-US")
    assert warm.words
    assert warm == run(SphinxTranscriber(), greeting, "en")


def test_hints_it_cannot_use_are_named(transcriber: SphinxTranscriber, tmp_path: Path) -> None:
    audio = write_wav(tmp_path / "silence.wav", np.zeros(RATE_HZ, dtype=np.float32))
    result = transcriber.transcribe(audio, language="en", prompt=None, hotwords="Sheila", report=lambda _: None)
    assert [warning.code for warning in result.warnings] == ["transcript_rough", "hints_ignored"]


def test_aligning_leaves_the_words_as_they_are(
    transcriber: SphinxTranscriber, transcript: Transcript, sample: Path
) -> None:
    assert transcriber.align(sample, transcript, lambda _: None) == transcript


@pytest.mark.parametrize("seconds", [0.0, 0.05, 5.0])
def test_silence_has_no_words(transcriber: SphinxTranscriber, tmp_path: Path, seconds: float) -> None:
    audio = write_wav(tmp_path / "silence.wav", np.zeros(round(seconds * RATE_HZ), dtype=np.float32))
    assert run(transcriber, audio).words == ()


@pytest.mark.parametrize("language", ["de", "German", "enm", "fr-FR"])
def test_a_language_other_than_english_is_refused(transcriber: SphinxTranscriber, sample: Path, language: str) -> None:
    with pytest.raises(UnsupportedLanguageError, match="English only"):
        run(transcriber, sample, language)


def test_a_file_that_is_no_prepared_recording_is_refused(transcriber: SphinxTranscriber, tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    write_wav(stereo, np.zeros((RATE_HZ, 2), dtype=np.float32))
    for audio in (stereo, tmp_path / "missing.wav"):
        with pytest.raises(AudioPreprocessingError):
            run(transcriber, audio)
