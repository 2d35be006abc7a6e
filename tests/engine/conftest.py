"""Real models, loaded once for all engine tests, in the environment that the engine child gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# read when torch and pyannote.audio are imported, which happens in the first fixture
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")

from tests.support.speech_sample import sample_folder
from worker.engine.asr_sphinx import SphinxTranscriber
from worker.engine.diarize_bundled import BundledDiarizer
from worker.models import Diarization


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="package", autouse=True)
def no_hub() -> Iterator[None]:
    """No test of an engine asks the model hub; given back afterwards, because others ask one of their own."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HF_HUB_OFFLINE", "1")
        patched.setattr(constants, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="session")
def sample() -> Path:
    """The two-speaker conversation, 30 s."""
    return sample_folder() / "sample.wav"


@pytest.fixture(scope="session")
def diarizer() -> BundledDiarizer:
    return BundledDiarizer()


@pytest.fixture(scope="session")
def diarized(diarizer: BundledDiarizer, sample: Path) -> Diarization:
    """The sample, in the first call of a fresh diarizer."""
    return diarizer.diarize(sample, min_speakers=None, max_speakers=None, report=lambda _: None)


@pytest.fixture(scope="session")
def transcriber() -> SphinxTranscriber:
    return SphinxTranscriber()
