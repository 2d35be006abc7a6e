"""Whoever tells the voices apart, they are described the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, read_turns, sample_folder, write_wav
from worker import app_engine
from worker.engine.described_diarizer import DescribedDiarizer
from worker.engine.voice_describer import NARROW_MODEL
from worker.models import Diarization
from worker.ports import Diarizer

REFERENCE = read_turns(sample_folder() / "sample.rttm")


def made(tmp_path: Path, *, describe_voices: bool) -> Diarizer:
    return app_engine.diarizer(
        kind="bundled",
        pyannote_model="none",
        cache_dir=str(tmp_path),
        offline=True,
        gpu_uuid=None,
        cuda_device=0,
        allow_cpu=False,
        num_threads=2,
        describe_voices=describe_voices,
    )


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Diarizer:
    return made(tmp_path_factory.mktemp("cache"), describe_voices=True)


@pytest.fixture(scope="module")
def reported() -> list[float]:
    """The progress of the sample."""
    return []


@pytest.fixture(scope="module")
def result(described: Diarizer, sample: Path, reported: list[float]) -> Diarization:
    """Of the sample."""
    return described.diarize(sample, min_speakers=None, max_speakers=None, report=reported.append)


def run(diarizer: Diarizer, audio: Path) -> Diarization:
    return diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=lambda _: None)


def test_turns_are_the_diarizer_s_and_each_voice_is_described(
    described: Diarizer, diarized: Diarization, result: Diarization
) -> None:
    assert isinstance(described, DescribedDiarizer)
    assert result.model_copy(update={"embeddings": ()}) == diarized
    assert [(voice.label, voice.model) for voice in result.embeddings] == [
        ("SPEAKER_00", NARROW_MODEL),
        ("SPEAKER_01", NARROW_MODEL),
    ]


def test_voices_hardly_depend_on_who_told_them_apart(result: Diarization, sample: Path) -> None:
    """The bundled diarizer's turns and those that somebody wrote by hand: the same two people."""
    ours = [voice.vector for voice in result.embeddings]
    describer = app_engine.describer(gpu_uuid=None, cuda_device=0, num_threads=2)
    by_hand = [voice.vector for voice in describer.describe(sample, REFERENCE, report=lambda _: None)]
    cosines = np.array(ours) @ np.array(by_hand).T
    assert cosines.diagonal().min() > 0.95
    assert np.fliplr(cosines).diagonal().max() < 0.95


@pytest.mark.parametrize("who", ["speaker90", "speaker91"])
def test_one_person_alone_sounds_as_in_the_conversation(
    described: Diarizer, result: Diarization, sample: Path, tmp_path: Path, who: str
) -> None:
    samples = read_sound(sample)
    keep = np.zeros(len(samples), dtype=bool)
    for turn in sorted(REFERENCE, key=lambda turn: turn.label != who):
        keep[round(turn.start_s * RATE_HZ) : round(turn.end_s * RATE_HZ)] = turn.label == who
    (alone,) = run(described, write_wav(tmp_path / "alone.wav", samples[keep])).embeddings
    cosines = [float(np.dot(alone.vector, voice.vector)) for voice in result.embeddings]
    assert max(cosines) > 0.95 > min(cosines)
    assert cosines[0 if who == "speaker90" else 1] == max(cosines)


def test_where_nobody_is_to_be_recognised_no_voice_is_described(
    diarized: Diarization, sample: Path, tmp_path: Path
) -> None:
    """IDENTIFY_SPEAKERS=false: what is never made can never be kept."""
    assert run(made(tmp_path, describe_voices=False), sample) == diarized
    assert diarized.embeddings == ()


def test_progress_grows_to_one_over_both(result: Diarization, reported: list[float]) -> None:
    assert result.turns
    assert reported == sorted(reported)
    assert any(0.9 < done < 1.0 for done in reported)
    assert reported[-1] == 1.0


def test_the_encoder_is_loaded_once_for_all(tmp_path: Path) -> None:
    diarizer = made(tmp_path, describe_voices=True)
    describer = app_engine.describer(gpu_uuid=None, cuda_device=0, num_threads=2)
    assert isinstance(diarizer, DescribedDiarizer)
    assert diarizer._describer._encoder is describer._encoder is app_engine._voice_encoder()
