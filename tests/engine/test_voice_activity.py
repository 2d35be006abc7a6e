"""Speech scores against whisperx's own detector, which they replace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, write_wav
from worker.engine.grid import FRAME_S, Floats
from worker.engine.recording import open_recording
from worker.engine.segmentation import SegmentationModel
from worker.engine.voice_activity import FRAME_DURATION_S, speech_scores
from worker.engine.whisperx_library import hushed

Detector = Callable[[Floats], Any]


@pytest.fixture(scope="module")
def detector() -> Detector:
    import torch

    with hushed():
        from whisperx.vads.pyannote import Pyannote

        vad = Pyannote("cpu", vad_onset=0.5, vad_offset=0.363)
    return lambda samples: vad({"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ})


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    return SegmentationModel()


def scores(audio: Path, model: SegmentationModel, num_threads: int = 2) -> Floats:
    with open_recording(audio) as sound:
        return speech_scores(sound, lambda _: None, model=model, num_threads=num_threads)


@pytest.mark.parametrize("seconds", [12.5, 12.63, 5.0, 4.9, 0.3])
def test_the_scores_are_those_of_whisperx(
    detector: Detector, model: SegmentationModel, sample: Path, tmp_path: Path, seconds: float
) -> None:
    """With and without a padded last chunk, and shorter than one chunk; frames lie on the same grid."""
    audio = write_wav(tmp_path / "part.wav", read_sound(sample)[: round(seconds * RATE_HZ)])
    theirs = detector(read_sound(audio))
    ours = scores(audio, model)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.data[:, 0].shape
    assert np.abs(ours - theirs.data[:, 0]).max() < 1e-3
    frames = theirs.sliding_window
    assert (frames.start, frames.step, frames.duration) == (
        0.0,
        pytest.approx(FRAME_S),
        pytest.approx(FRAME_DURATION_S),
    )


def test_whisperx_cuts_the_same_passages_from_them(detector: Detector, model: SegmentationModel, sample: Path) -> None:
    from pyannote.core import SlidingWindow, SlidingWindowFeature
    from whisperx.vads.pyannote import Pyannote

    def passages(feature: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = Pyannote.merge_chunks(feature, 30, onset=0.5, offset=0.363)
        return found

    frames = SlidingWindow(start=0.0, step=FRAME_S, duration=FRAME_DURATION_S)
    assert passages(SlidingWindowFeature(scores(sample, model)[:, None], frames)) == passages(
        detector(read_sound(sample))
    )


def test_silence_is_no_speech(model: SegmentationModel, tmp_path: Path) -> None:
    audio = write_wav(tmp_path / "silence.wav", np.zeros(6 * RATE_HZ, dtype=np.float32))
    assert scores(audio, model).max() < 0.5


def test_any_number_of_threads_gives_the_same(model: SegmentationModel, sample: Path, tmp_path: Path) -> None:
    audio = write_wav(tmp_path / "part.wav", read_sound(sample)[: 12 * RATE_HZ])
    assert np.array_equal(scores(audio, model, num_threads=1), scores(audio, model, num_threads=3))


def test_progress_grows_to_one(model: SegmentationModel, sample: Path) -> None:
    reported: list[float] = []
    with open_recording(sample) as sound:
        speech_scores(sound, reported.append, model=model)
    assert reported == sorted(reported)
    assert len(reported) > 3
    assert reported[-1] == 1.0
