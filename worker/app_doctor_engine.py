"""The doctor's room for what the engines need: a GPU, a model or its hub, quiet libraries. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.app_children import child_environment
from worker.app_doctor_check import Check, State, gigabytes
from worker.app_doctor_pc import PcSenses
from worker.config import Settings
from worker.engine.catalogue import REPOSITORIES
from worker.engine.whisper_cache import download_bytes, is_in_cache
from worker.engine.whisper_files import is_hub_name
from worker.models import GpuFacts

HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 3.0

OLDEST_DRIVER = 525
"""For CUDA 12, on Linux. Source: NVIDIA, CUDA Compatibility, table of minor version compatibility."""

QUIET = {"PYANNOTE_METRICS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""What the libraries must be told, or they report to their makers."""


def is_to_be_fetched(settings: Settings) -> bool:
    """Whether the model is a name on the hub that is not here yet."""
    name = settings.whisper_model
    if settings.asr_engine != "whisperx" or Path(name).is_dir() or not _is_known(name):
        return False
    return not is_in_cache(name, settings.model_cache_dir / "whisper")


def _is_known(name: str) -> bool:
    return name in REPOSITORIES or (is_hub_name(name) and "/" in name)


async def model_check(settings: Settings, environ: Mapping[str, str] | None) -> Check:
    """Whether the engine's model is here, or can be had."""
    name = settings.whisper_model
    if settings.asr_engine == "sphinx":
        return Check("model", State.OK, "The offline engine brings its model with it.")
    if Path(name).is_dir():
        return _folder_check(Path(name))
    if not is_hub_name(name):
        sentence = "There is no such folder as WHISPER_MODEL says. Correct it, or set a name such as small."
        return Check("model", State.FAILED, sentence)
    if not _is_known(name):
        names = ", ".join(sorted(REPOSITORIES))
        return Check("model", State.FAILED, f"WHISPER_MODEL={name} is no model. Use a folder or one of: {names}.")
    if not is_to_be_fetched(settings):
        return Check("model", State.OK, f"The Whisper model {name} is here.")
    return await _hub_check(name, child_environment(settings, environ))


def _folder_check(folder: Path) -> Check:
    if (folder / "model.bin").is_file():
        return Check("model", State.OK, "The folder WHISPER_MODEL holds a model.")
    sentence = "The folder WHISPER_MODEL holds no model in CTranslate2 format (model.bin). Correct WHISPER_MODEL."
    return Check("model", State.FAILED, sentence)


async def _hub_check(name: str, environment: Mapping[str, str]) -> Check:
    from worker.adapters.server_clock import answers

    missing = f"The Whisper model {name} is not in MODEL_CACHE_DIR yet"
    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        sentence = (
            f"{missing}, and MODELS_OFFLINE or HF_HUB_OFFLINE forbids to fetch it. Run `python -m worker models pull "
            "--from-lab`, unset it once, or set WHISPER_MODEL to a folder."
        )
        return Check("model", State.FAILED, sentence)
    hub = environment.get("HF_ENDPOINT", HUB)
    if await answers(hub, timeout_s=HUB_TIMEOUT_S):
        size = gigabytes(download_bytes(name))
        return Check("model", State.OK, f"{missing}; it is fetched with the first meeting (about {size}).")
    sentence = (
        f"{missing}, and {hub} does not answer. Let the PC reach it once, or set WHISPER_MODEL to a folder that holds "
        "a model; ASR_ENGINE=sphinx works without one."
    )
    return Check("model", State.WARNING, sentence)


def gpu_check(settings: Settings, environ: Mapping[str, str] | None, senses: PcSenses) -> Check:
    """Whether the GPU that is wanted answers, and its driver is new enough. Without one the CPU works, and is slow."""
    if settings.asr_engine == "sphinx" or not settings.enable_gpu:
        return Check("gpu", State.OK, "No GPU is wanted.")
    number = settings.cuda_device
    visible = child_environment(settings, environ).get("CUDA_VISIBLE_DEVICES")
    gpu = senses.gpu(number, visible)
    if gpu is not None:
        return _driver_check(gpu)
    if number > 0 and senses.gpu(0, visible) is not None:
        sentence = f"There is a GPU, and none with the number {number}. Correct CUDA_DEVICE; it counts from 0."
        return Check("gpu", State.FAILED, sentence)
    sentence = (
        "No NVIDIA GPU answers, so that meetings are worked on by the CPU. Install the driver until `nvidia-smi` shows "
        "the GPU; on a PC without one set ENABLE_GPU=false."
    )
    return Check("gpu", State.WARNING, sentence)


def _driver_check(gpu: GpuFacts) -> Check:
    found = f"{gpu.name} with {gigabytes(gpu.vram_bytes)}, driver {gpu.driver}."
    major = gpu.driver.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_DRIVER:
        remedy = f"CUDA 12 needs {OLDEST_DRIVER} or newer. Install a newer driver, or set ENABLE_GPU=false."
        return Check("gpu", State.FAILED, f"{found} {remedy}")
    return Check("gpu", State.OK, found)


def model_space_check(settings: Settings, senses: PcSenses) -> Check:
    """Room for what is yet to be fetched."""
    if not is_to_be_fetched(settings):
        return Check("model_space", State.OK, "There is no Whisper model to be fetched.")
    free, needed = senses.free_bytes(settings.model_cache_dir), download_bytes(settings.whisper_model)
    have = f"{gigabytes(free)} are free for MODEL_CACHE_DIR; the models take about {gigabytes(needed)}."
    if free < needed:
        remedy = "Free the disk, or choose a smaller WHISPER_MODEL."
        return Check("model_space", State.FAILED, f"{have} {remedy}")
    return Check("model_space", State.OK, have)


def hf_token_check(settings: Settings) -> Check:
    """Only pyannote's pipeline asks for a token; one that cannot be one would make the hub refuse all."""
    token = settings.hf_token
    if token is None:
        return Check("hf_token", State.OK, "HF_TOKEN is not set; only pyannote's pipeline asks for one.")
    if not token.get_secret_value().startswith("hf_"):
        sentence = (
            "HF_TOKEN does not look like a token of the hub, which refuses wrong ones. Copy it anew or remove it."
        )
        return Check("hf_token", State.WARNING, sentence)
    return Check("hf_token", State.OK, "HF_TOKEN is set.")


def telemetry_check(settings: Settings, environ: Mapping[str, str] | None) -> Check:
    """In the environment that an engine process gets."""
    environment = child_environment(settings, environ)
    loud = [name for name, value in QUIET.items() if environment.get(name) != value]
    if loud:
        return Check("telemetry", State.FAILED, f"The engines are not told {', '.join(loud)}. Update the worker.")
    return Check("telemetry", State.OK, "The engines' libraries report to nobody.")
