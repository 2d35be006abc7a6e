"""The segmentation model with its shared front end, against pyannote.audio's own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, write_wav
from worker.engine.grid import CHUNK_SAMPLES, FRAME_SAMPLES, Floats
from worker.engine.recording import open_recording
from worker.engine.segmentation import SegmentationModel, packaged_file
from worker.engine.whisperx_library import hushed


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    return SegmentationModel()


def as_pyannote(samples: Floats, hop: int) -> Floats:
    """Every chunk on its own through the unmodified model."""
    import torch
    from pyannote.audio import Model

    with hushed():
        model = Model.from_pretrained(packaged_file("whisperx", "assets/pytorch_model.bin"), strict=False)
    assert model is not None
    chunks = torch.from_numpy(samples).unfold(0, CHUNK_SAMPLES, hop)[:, None]
    with torch.inference_mode():
        scores: Floats = model.eval()(chunks).numpy()
    return scores


@pytest.mark.parametrize("hop", [30 * FRAME_SAMPLES, RATE_HZ // 2, 7 * FRAME_SAMPLES])
def test_overlapping_chunks_get_the_scores_that_each_would_get_alone(
    model: SegmentationModel, sample: Path, tmp_path: Path, hop: int
) -> None:
    """Also where the chunks begin between each other's pooled values, and with an offset in the sound."""
    loud = read_sound(sample)[: CHUNK_SAMPLES + 10 * hop] + np.float32(0.01)
    audio = write_wav(tmp_path / "part.wav", loud)
    with open_recording(audio) as sound:
        ours = np.concatenate(list(model.stream(sound, hop_samples=hop, num_threads=2)))
    theirs = as_pyannote(read_sound(audio), hop)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3
