"""What the child processes are given, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.settings import settings_in
from worker.adapters.child_server import construct
from worker.app_children import build_stages, child_environment, child_objects, gpu_of, num_engines
from worker.app_plans import measured_plans
from worker.engine.rung_memory import FILE, rung_of
from worker.models import GpuFacts
from worker.summarize.llm_summarizer import LlmSummarizer

GPU = GpuFacts(name="NVIDIA X", uuid="GPU-1", driver="570.1", vram_bytes=2**34)


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
    monkeypatch.setattr("worker.adapters.gpu_nvml.read_gpu", lambda *_, **__: GPU)
    assert gpu_of(settings_in(tmp_path, **variables)) is None
    assert gpu_of(settings_in(tmp_path, ASR_ENGINE="whisperx")) == GPU


def test_a_child_sees_the_one_gpu_that_its_worker_holds(tmp_path: Path) -> None:
    """By its UUID: NVML and CUDA may count differently."""
    settings = settings_in(tmp_path, ASR_ENGINE="whisperx", CUDA_DEVICE="1")
    assert child_environment(settings, {"CUDA_VISIBLE_DEVICES": "0,1"}, GPU)["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    arguments = child_objects(settings, GPU).transcriber.kwargs
    assert (arguments["cuda_device"], arguments["plan"]["gpu_uuid"]) == (0, "GPU-1")


@pytest.mark.parametrize("environ", [{"MODELS_OFFLINE": "true"}, {"HF_HUB_OFFLINE": "1"}])
def test_a_pc_that_must_not_ask_the_hub_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    """Neither our own code nor the hub's client, which reads a variable of its own."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = settings_in(tmp_path, ASR_ENGINE="whisperx", **environ)
    assert child_environment(settings)["HF_HUB_OFFLINE"] == "1"
    assert child_objects(settings).transcriber.kwargs["plan"]["offline"] is True
    assert child_objects(settings_in(tmp_path, ASR_ENGINE="whisperx")).transcriber.kwargs["plan"]["offline"] is (
        "HF_HUB_OFFLINE" in environ
    )


def test_the_settings_reach_the_plan(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        ASR_ENGINE="whisperx",
        WHISPER_MODEL="medium",
        WHISPER_COMPUTE_TYPE="float32",
        WHISPER_BATCH_SIZE="6",
        UNLOAD_ASR="true",
    )
    plans = measured_plans(**child_objects(settings).transcriber.kwargs["plan"])
    (first, *_) = plans.preview(3600.0)
    assert (rung_of(first), first.unload_asr) == ("medium cpu float32 6", True)


def test_kept_values_are_good_on_another_gpu_and_not_with_another_model(tmp_path: Path) -> None:
    def key(gpu: GpuFacts | None = None, **variables: str) -> dict[str, str]:
        settings = settings_in(tmp_path, ASR_ENGINE="whisperx", **variables)
        return build_stages(settings, child_objects(settings, gpu)).settings_key()

    other = GPU.model_copy(update={"uuid": "GPU-2"})
    assert key(GPU)["transcribe"] == key(other)["transcribe"]
    assert key(WHISPER_MODEL="base")["transcribe"] != key(WHISPER_MODEL="tiny")["transcribe"]


def test_looking_at_the_settings_writes_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ASR_ENGINE="whisperx")
    measured_plans(**child_objects(settings).transcriber.kwargs["plan"]).preview(60.0)
    assert not (settings.model_cache_dir / FILE).exists()


ENDPOINT = {
    "SUMMARY_LLM_URL": "http://gpu-box:11434/v1",
    "SUMMARY_LLM_MODEL": "llama",
    "SUMMARY_LLM_KEY": "sk-hunter2",
    "SUMMARY_LLM_TIMEOUT_SECONDS": "77",
    "SUMMARY_LANGUAGE": "de",
}


def test_the_endpoints_settings_reach_the_summarizer(tmp_path: Path) -> None:
    assert child_objects(settings_in(tmp_path)).summarizer.factory.endswith(":ExtractiveSummarizer")
    spec = child_objects(settings_in(tmp_path, **ENDPOINT)).summarizer
    assert isinstance(construct(spec), LlmSummarizer)
    assert spec.kwargs == {
        "url": "http://gpu-box:11434/v1",
        "model": "llama",
        "key": "sk-hunter2",
        "context_tokens": 8192,
        "timeout_s": 77.0,
        "language": "de",
    }


def test_the_endpoints_key_is_shown_nowhere_and_another_one_spoils_no_kept_value(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, **ENDPOINT)
    key = build_stages(settings, child_objects(settings)).settings_key()["summarize"]
    assert "hunter2" not in key + repr(child_objects(settings)) + repr(settings) + repr(child_environment(settings))
    assert "sk-hunter2" in settings.secrets()
    other = settings_in(tmp_path, **{**ENDPOINT, "SUMMARY_LLM_KEY": "sk-other"})
    assert build_stages(other, child_objects(other)).settings_key()["summarize"] == key
    other = settings_in(tmp_path, **{**ENDPOINT, "SUMMARY_LLM_MODEL": "qwen"})
    assert build_stages(other, child_objects(other)).settings_key()["summarize"] != key
