"""What the child processes are given, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.settings import settings_in
from worker.app_children import child_environment, child_objects, gpu_of, num_engines
from worker.models import GpuFacts


def test_a_child_sees_no_key_of_the_database(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, DATABASE_URL="postgresql://me:hunter2@db/x")
    environment = child_environment(
        settings, {"PATH": "/bin", "DATABASE_URL": "x", "SUPABASE_KEY": "y", "PGPASSWORD": "z"}
    )
    assert environment["PATH"] == "/bin"
    assert not {"DATABASE_URL", "SUPABASE_KEY", "PGPASSWORD"} & set(environment)
    assert "hunter2" not in repr(environment) + repr(child_objects(settings))


def test_a_childs_telemetry_is_off_and_its_files_stay_in_the_model_cache(tmp_path: Path) -> None:
    environment = child_environment(settings_in(tmp_path), {"HOME": "/root"})
    assert environment["PYANNOTE_METRICS_ENABLED"] == "0"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
    for variable in ("HF_HOME", "TORCH_HOME"):
        assert Path(environment[variable]).is_relative_to(tmp_path / "models")


def test_the_hubs_token_reaches_the_engine_that_needs_it(tmp_path: Path) -> None:
    assert child_environment(settings_in(tmp_path, HF_TOKEN="hf_x"), {})["HF_TOKEN"] == "hf_x"
    assert "HF_TOKEN" not in child_environment(settings_in(tmp_path), {"HF_TOKEN": "somebody else's"})


def test_there_are_never_more_engines_than_meetings(tmp_path: Path) -> None:
    assert num_engines(settings_in(tmp_path, ENGINE_PROCESSES="8", MAX_CONCURRENT_JOBS="3")) == 3
    assert num_engines(settings_in(tmp_path, ENGINE_PROCESSES="2", MAX_CONCURRENT_JOBS="3")) == 2


def test_the_engine_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    assert "Sphinx" in child_objects(settings_in(tmp_path, ASR_ENGINE="sphinx")).transcriber.factory
    assert "whisperx" in child_objects(settings_in(tmp_path, ASR_ENGINE="whisperx")).transcriber.factory


def test_the_engine_counts_gpus_as_nvidia_smi_does(tmp_path: Path) -> None:
    """CUDA alone begins with the fastest one: the worker would hold one GPU and compute on another."""
    environment = child_environment(settings_in(tmp_path), {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("variables", [{"ASR_ENGINE": "sphinx"}, {"ASR_ENGINE": "whisperx", "ENABLE_GPU": "false"}])
def test_a_worker_that_uses_no_gpu_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """It would keep another one from it."""
    gpu = GpuFacts(name="NVIDIA X", uuid="GPU-1", driver="570.1", vram_bytes=2**34)
    monkeypatch.setattr("worker.adapters.gpu_nvml.read_gpu", lambda *_, **__: gpu)
    assert gpu_of(settings_in(tmp_path, **variables)) is None
    assert gpu_of(settings_in(tmp_path, ASR_ENGINE="whisperx")) == gpu
