"""Which diarizer the engine child makes of its settings, with real models."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.tiny_pyannote import write_pipeline
from worker.app_engine import diarizer
from worker.engine.diarize_bundled import BundledDiarizer
from worker.engine.diarize_pyannote import PyannoteDiarizer
from worker.exceptions import ModelUnavailableError
from worker.ports import Diarizer


def made(kind: str, model: Path | str, cache: Path) -> Diarizer:
    return diarizer(
        kind=kind,
        pyannote_model=str(model),
        cache_dir=str(cache),
        offline=True,
        gpu_uuid=None,
        cuda_device=0,
        allow_cpu=False,
        num_threads=1,
        describe_voices=False,
    )


def test_auto_takes_pyannote_from_a_folder_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="worker")
    assert isinstance(made("auto", write_pipeline(tmp_path / "copied"), tmp_path), PyannoteDiarizer)
    (chosen,) = [record for record in caplog.records if record.message == "diarizer_chosen"]
    assert vars(chosen)["diarizer"] == "pyannote"
    assert vars(chosen)["reason"] == "pyannote's pipeline is on this PC."


def test_auto_goes_on_with_the_bundled_one_where_the_pipeline_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asked for pyannote by name; the log says what to do about it."""
    folder = write_pipeline(tmp_path / "copied")
    (folder / "embedding" / "pytorch_model.bin").write_bytes(b"not weights")
    assert isinstance(made("auto", folder, tmp_path), BundledDiarizer)
    assert "pyannote_not_loaded" in [record.message for record in caplog.records]


def test_pyannote_asked_for_by_name_is_an_error_where_it_cannot_be_had(tmp_path: Path) -> None:
    """A swap would give a meeting other speakers than the one before, and nobody would know why."""
    with pytest.raises(ModelUnavailableError, match="MODELS_OFFLINE"):
        made("pyannote", "pyannote/speaker-diarization-community-1", tmp_path)
