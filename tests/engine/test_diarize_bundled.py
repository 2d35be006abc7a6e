"""The bundled diarizer on real speech: the conversation in the pyannote.audio wheel, copies and parts of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import (
    COPIES,
    RATE_HZ,
    Copy,
    copied,
    read_sound,
    read_turns,
    sample_folder,
    write_rttm,
    write_wav,
)
from worker.engine.diarize_bundled import BundledDiarizer
from worker.engine.scoring import ReferenceScorer
from worker.exceptions import AudioPreprocessingError
from worker.models import Diarization, SpeakerTurn

REFERENCE = sample_folder() / "sample.rttm"


def run(
    diarizer: BundledDiarizer, audio: Path, min_speakers: int | None = None, max_speakers: int | None = None
) -> Diarization:
    return diarizer.diarize(audio, min_speakers=min_speakers, max_speakers=max_speakers, report=lambda _: None)


def labels(result: Diarization) -> set[str]:
    return {turn.label for turn in result.turns}


def der(result: Diarization, rttm: Path, duration_s: float) -> float:
    scores = ReferenceScorer().score(
        reference_rttm=rttm, reference_stm=None, turns=result.turns, segments=(), duration_s=duration_s
    )
    assert scores.der is not None
    return scores.der


@pytest.fixture(scope="module")
def copies(
    diarizer: BundledDiarizer, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, float]]:
    """Number of speakers found in, and DER of, each copy."""
    folder = tmp_path_factory.mktemp("copies")
    samples, turns = read_sound(sample), read_turns(REFERENCE)
    scores = {}
    for copy in COPIES:
        sound, moved = copied(copy, samples, turns)
        result = run(diarizer, write_wav(folder / "copy.wav", sound))
        error = der(result, write_rttm(folder / "copy.rttm", moved), len(sound) / RATE_HZ)
        scores[copy.name] = len(labels(result)), error
    return scores


def voice_alone(sample: Path, label: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Only what one person says while the other is silent."""
    samples, turns = read_sound(sample), read_turns(REFERENCE)
    keep = np.zeros(len(samples), dtype=bool)
    for wanted in (True, False):
        for turn in turns:
            if (turn.label == label) == wanted:
                keep[round(turn.start_s * RATE_HZ) : round(turn.end_s * RATE_HZ)] = wanted
    return samples[keep]


def test_two_speakers_and_at_most_nine_percent_der(diarized: Diarization) -> None:
    assert labels(diarized) == {"SPEAKER_00", "SPEAKER_01"}
    assert der(diarized, REFERENCE, 30.0) <= 0.09


def test_copies_have_at_most_ten_percent_der_in_the_mean(copies: dict[str, tuple[int, float]]) -> None:
    """One setting for all: what fits this very file only would break on a copy that starts 0.25 s later."""
    print(copies)
    assert sum(error for _, error in copies.values()) / len(copies) <= 0.10


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.name)
def test_every_copy_has_two_speakers(copies: dict[str, tuple[int, float]], copy: Copy) -> None:
    assert copies[copy.name][0] == 2


def test_turns_are_sorted_lie_inside_the_recording_and_are_labelled_in_order(diarized: Diarization) -> None:
    starts = [turn.start_s for turn in diarized.turns]
    assert starts == sorted(starts)
    assert all(0 <= turn.start_s < turn.end_s <= 30.0 for turn in diarized.turns)
    assert diarized.turns[0].label == "SPEAKER_00"


def test_exclusive_turns_are_the_same_speech_without_overlap(diarized: Diarization) -> None:
    assert all(a.end_s <= b.start_s for a, b in pairwise(diarized.exclusive))
    assert any(a.end_s > b.start_s for a, b in pairwise(diarized.turns)), "the sample has overlapping speech"
    for turn in diarized.exclusive:
        assert any(
            whole.label == turn.label and whole.start_s <= turn.start_s and turn.end_s <= whole.end_s
            for whole in diarized.turns
        )
    assert covered_s(diarized.exclusive) == pytest.approx(covered_s(diarized.turns), abs=0.01)


def covered_s(turns: tuple[SpeakerTurn, ...]) -> float:
    """Seconds in which anybody speaks."""
    total_s, reached_s = 0.0, 0.0
    for turn in turns:
        total_s += max(0.0, turn.end_s - max(turn.start_s, reached_s))
        reached_s = max(reached_s, turn.end_s)
    return total_s


def test_the_same_recording_gives_the_same_result(
    diarizer: BundledDiarizer, sample: Path, diarized: Diarization
) -> None:
    """Warm, after other recordings, and with another number of threads."""
    assert run(diarizer, sample) == diarized
    assert run(BundledDiarizer(num_threads=1), sample) == diarized


@pytest.mark.parametrize("seconds", [0.0, 0.05, 3.0, 12.0])
def test_silence_has_no_turns(diarizer: BundledDiarizer, tmp_path: Path, seconds: float) -> None:
    audio = write_wav(tmp_path / "silence.wav", np.zeros(round(seconds * RATE_HZ), dtype=np.float32))
    result = run(diarizer, audio)
    assert (result.turns, result.exclusive) == ((), ())


@pytest.mark.parametrize("label", ["speaker90", "speaker91"])
def test_one_person_alone_is_one_speaker(diarizer: BundledDiarizer, sample: Path, tmp_path: Path, label: str) -> None:
    result = run(diarizer, write_wav(tmp_path / "alone.wav", voice_alone(sample, label)))
    assert labels(result) == {"SPEAKER_00"}


def test_a_word_too_short_to_tell_voices_apart_is_one_speaker_s(
    diarizer: BundledDiarizer, sample: Path, tmp_path: Path
) -> None:
    word = read_sound(sample)[round(6.75 * RATE_HZ) : round(7.0 * RATE_HZ)]
    result = run(diarizer, write_wav(tmp_path / "word.wav", np.pad(word, 20_000)))
    assert labels(result) <= {"SPEAKER_00"}


def test_no_more_speakers_than_the_meeting_allows(diarizer: BundledDiarizer, sample: Path) -> None:
    result = run(diarizer, sample, max_speakers=1)
    assert labels(result) == {"SPEAKER_00"}
    assert all(a.end_s <= b.start_s for a, b in pairwise(result.turns)), "one person does not overlap with themselves"


def test_no_fewer_speakers_than_the_meeting_asks_for(diarizer: BundledDiarizer, sample: Path) -> None:
    result = run(diarizer, sample, min_speakers=3)
    assert len(labels(result)) >= 3
    assert result.warnings == ()


def test_bounds_that_hold_anyway_change_nothing(diarizer: BundledDiarizer, sample: Path, diarized: Diarization) -> None:
    """But for the doubt about the count, which they end."""
    result = run(diarizer, sample, min_speakers=2, max_speakers=2)
    assert result == diarized.model_copy(update={"num_speakers_range": (2, 2)})


def test_how_sure_the_number_of_speakers_is(diarized: Diarization) -> None:
    """Two telephone voices that a threshold a little lower would join."""
    assert diarized.num_speakers_range is not None
    fewest, most = diarized.num_speakers_range
    assert fewest <= 2 == most


def test_too_little_speech_for_the_speakers_asked_for_is_said(
    diarizer: BundledDiarizer, sample: Path, tmp_path: Path
) -> None:
    short = read_sound(sample)[round(22 * RATE_HZ) : round(24 * RATE_HZ)]
    result = run(diarizer, write_wav(tmp_path / "short.wav", short), min_speakers=6)
    assert [warning.code for warning in result.warnings] == ["fewer_speakers_than_asked"]


def test_progress_grows_to_one(diarizer: BundledDiarizer, sample: Path) -> None:
    reported: list[float] = []
    diarizer.diarize(sample, min_speakers=None, max_speakers=None, report=reported.append)
    assert reported == sorted(reported)
    assert len(reported) > 5
    assert reported[-1] == 1.0


def test_a_file_that_is_no_prepared_recording_is_refused(diarizer: BundledDiarizer, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a recording")
    for audio in (tmp_path / "notes.wav", tmp_path / "missing.wav"):
        with pytest.raises(AudioPreprocessingError):
            run(diarizer, audio)
