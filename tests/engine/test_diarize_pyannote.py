"""pyannote.audio's own, unmodified pipeline on models that the test writes, in the layout of community-1."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, sample_folder, write_wav
from tests.support.tiny_pyannote import COMMIT, REPOSITORY, write_cache, write_pipeline
from worker.engine.diarize_pyannote import PyannoteDiarizer
from worker.engine.pyannote_models import Hub
from worker.engine.scoring import ReferenceScorer
from worker.exceptions import AudioPreprocessingError, ModelUnavailableError
from worker.models import Diarization

OFFLINE = Hub(token=None, address="http://127.0.0.1:9", is_offline=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's cache with a pipeline that clusters as community-1 does."""
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder, "VBxClustering")
    return folder


@pytest.fixture(scope="module")
def pyannote(cache: Path) -> PyannoteDiarizer:
    return PyannoteDiarizer(model=REPOSITORY, cache=cache, hub=OFFLINE)


@pytest.fixture(scope="module")
def seen() -> list[float]:
    """The progress that the first run of the sample reported."""
    return []


@pytest.fixture(scope="module")
def found(pyannote: PyannoteDiarizer, sample: Path, seen: list[float]) -> Diarization:
    return pyannote.diarize(sample, min_speakers=None, max_speakers=None, report=seen.append)


def run(
    diarizer: PyannoteDiarizer, audio: Path, min_speakers: int | None = None, max_speakers: int | None = None
) -> Diarization:
    return diarizer.diarize(audio, min_speakers=min_speakers, max_speakers=max_speakers, report=lambda _: None)


def labels(result: Diarization) -> set[str]:
    return {turn.label for turn in result.turns}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """Six seconds of both voices."""
    return write_wav(tmp_path_factory.mktemp("short") / "short.wav", read_sound(sample)[10 * RATE_HZ : 16 * RATE_HZ])


def test_both_speakers_of_the_sample_are_found(found: Diarization) -> None:
    """At most 10 % DER: pyannote's answer arrives whole and at its place."""
    assert labels(found) == {"SPEAKER_00", "SPEAKER_01"}
    scores = ReferenceScorer().score(
        reference_rttm=sample_folder() / "sample.rttm",
        reference_stm=None,
        turns=found.turns,
        segments=(),
        duration_s=30.0,
    )
    assert scores.der is not None
    assert scores.der <= 0.10


def test_turns_are_sorted_lie_inside_the_recording_and_are_labelled_in_order(found: Diarization) -> None:
    starts = [turn.start_s for turn in found.turns]
    assert starts == sorted(starts)
    assert all(0 <= turn.start_s < turn.end_s <= 30.0 for turn in found.turns)
    assert found.turns[0].label == "SPEAKER_00"


def test_the_exclusive_track_is_pyannotes_own_and_has_no_overlap(found: Diarization) -> None:
    assert all(a.end_s <= b.start_s for a, b in pairwise(found.exclusive))
    assert any(a.end_s > b.start_s for a, b in pairwise(found.turns)), "the sample has overlapping speech"
    assert {turn.label for turn in found.exclusive} == labels(found)


def test_the_result_says_what_it_was_made_with(found: Diarization) -> None:
    assert (found.diarizer, found.device, found.batch_size) == ("pyannote", "cpu", 8)
    assert found.model.startswith("pyannote.audio-4.")
    assert found.model.endswith(" speaker-diarization-community-1")
    assert found.revision == COMMIT


def test_progress_grows_to_one(found: Diarization, seen: list[float]) -> None:
    assert found.turns
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert seen[-1] == 1.0


def test_the_same_recording_gives_the_same_result_when_warm(
    pyannote: PyannoteDiarizer, found: Diarization, sample: Path, short: Path
) -> None:
    """With bounds that hold anyway, and after another recording."""
    run(pyannote, short)
    assert run(pyannote, sample, min_speakers=2, max_speakers=2) == found


def test_no_more_speakers_than_the_meeting_allows(pyannote: PyannoteDiarizer, short: Path) -> None:
    result = run(pyannote, short, max_speakers=1)
    assert labels(result) == {"SPEAKER_00"}
    assert all(a.end_s <= b.start_s for a, b in pairwise(result.turns)), "one person does not overlap with themselves"


def test_bounds_that_contradict_each_other_are_no_error(pyannote: PyannoteDiarizer, short: Path) -> None:
    assert labels(run(pyannote, short, min_speakers=5, max_speakers=1)) == {"SPEAKER_00"}


@pytest.mark.parametrize("seconds", [0.0, 0.02, 3.0])
def test_silence_has_no_turns(pyannote: PyannoteDiarizer, tmp_path: Path, seconds: float) -> None:
    noise = np.random.default_rng(0).normal(scale=1e-4, size=round(seconds * RATE_HZ)).astype(np.float32)
    for name, samples in (("silence", np.zeros_like(noise)), ("noise", noise)):
        result = run(pyannote, write_wav(tmp_path / f"{name}.wav", samples))
        assert (result.turns, result.exclusive) == ((), ())


def test_a_word_too_short_to_describe_a_voice_has_a_speaker(
    pyannote: PyannoteDiarizer, sample: Path, tmp_path: Path
) -> None:
    """Its row in pyannote's answer is NaN."""
    word = read_sound(sample)[round(6.75 * RATE_HZ) : round(7.05 * RATE_HZ)]
    result = run(pyannote, write_wav(tmp_path / "word.wav", np.pad(word, 20_000)))
    assert labels(result) == {"SPEAKER_00"}


def test_a_file_that_is_no_prepared_recording_is_refused(pyannote: PyannoteDiarizer, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a recording")
    with pytest.raises(AudioPreprocessingError):
        run(pyannote, tmp_path / "notes.wav")


def test_a_copied_folder_serves_as_well(tmp_path: Path, short: Path) -> None:
    """With pyannote's other clustering. Its revision is a checksum."""
    folder = write_pipeline(tmp_path / "copied", "AgglomerativeClustering")
    diarizer = PyannoteDiarizer(model=str(folder), cache=tmp_path, hub=OFFLINE)
    result = run(diarizer, short, min_speakers=1, max_speakers=4)
    assert 1 <= len(labels(result)) <= 4
    assert str(result.revision).startswith("sha256:")


@pytest.mark.parametrize("damage", ["weights", "config", "task"])
def test_a_damaged_pipeline_says_what_to_do(cache: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(_snapshot(cache), tmp_path / "copied", symlinks=True)
    if damage == "weights":
        (folder / "embedding" / "pytorch_model.bin").write_bytes(b"not weights")
    elif damage == "config":
        (folder / "config.yaml").write_text("pipeline: [unclosed")
    else:
        (folder / "config.yaml").write_text("pipeline:\n  name: pyannote.audio.pipelines.NoSuchPipeline\n")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded") as caught:
        PyannoteDiarizer(model=str(folder), cache=tmp_path, hub=OFFLINE)
    assert str(tmp_path) not in str(caught.value)


def _snapshot(cache: Path) -> Path:
    return next(cache.glob("models--*/snapshots/*"))
