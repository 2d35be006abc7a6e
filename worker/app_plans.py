"""
From settings to the plans of an engine: part of the composition root, in the supervisor (for doctor) and in the child.

`plan_arguments` makes plain values of the settings, which travel to the child; `measured_plans` makes objects of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker.config import Settings
from worker.engine.catalogue import WHISPER_MODELS
from worker.engine.measured_plans import GpuReading, MeasuredPlans
from worker.engine.planner import Wishes
from worker.engine.rung_memory import RungMemory
from worker.engine.whisper_cache import is_in_cache
from worker.models import GpuFacts

HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 3.0

OF_THE_PC = frozenset({"gpu_uuid", "num_threads", "ram_bytes", "hub"})
"""Arguments that do not change what is written down: kept values are good on either of two GPUs."""


def is_offline(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the model hub must not be asked: by our setting, or by the hub's own."""
    return settings.models_offline or environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def plan_arguments(
    settings: Settings, gpu: GpuFacts | None, *, num_engines: int, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Of `measured_plans`, and JSON can carry them."""
    num_threads = max(1, len(os.sched_getaffinity(0)) // num_engines)
    return {
        "model": settings.whisper_model,
        "compute_type": settings.whisper_compute_type,
        "batch_size": settings.whisper_batch_size,
        "unload_asr": settings.unload_asr,
        "allow_smaller_model": settings.allow_smaller_model,
        "allow_cpu_fallback": settings.allow_cpu_fallback,
        "languages": settings.allowed_languages,
        "diarizer": settings.diarizer,
        "offline": is_offline(settings, environ),
        "hub": environ.get("HF_ENDPOINT", HUB),
        "cache_dir": str(settings.model_cache_dir.absolute()),
        "gpu_uuid": gpu.uuid if gpu else None,
        "num_threads": num_threads,
        "ram_bytes": ram_bytes() // num_engines,
    }


def measured_plans(
    *,
    model: str,
    compute_type: str,
    batch_size: int | None,
    unload_asr: bool | None,
    allow_smaller_model: bool,
    allow_cpu_fallback: bool,
    languages: tuple[str, ...],
    diarizer: str,
    offline: bool,
    hub: str,
    cache_dir: str,
    gpu_uuid: str | None,
    num_threads: int,
    ram_bytes: int,
    read_gpu: Callable[[str], GpuReading | None] | None = None,
    may_ask_hub: bool = True,
) -> MeasuredPlans:
    """
    Plans for this process: as a rule what it holds of the GPU's memory itself counts as free. Without `may_ask_hub` a
    hub that is not forbidden is taken for reachable.
    """
    look = read_gpu or _reading
    wishes = Wishes(
        model=model,
        compute_type=compute_type,
        batch_size=batch_size,
        unload_asr=unload_asr,
        allow_smaller_model=allow_smaller_model,
        allow_cpu_fallback=allow_cpu_fallback,
        languages=tuple(languages),
        can_fetch=not offline,
        diarizer=diarizer,
    )
    return MeasuredPlans(
        read_gpu=lambda: None if gpu_uuid is None else look(gpu_uuid),
        num_threads=num_threads,
        ram_bytes=ram_bytes,
        wishes=wishes,
        memory=RungMemory(Path(cache_dir)),
        at_hand=lambda: models_at_hand(Path(cache_dir)),
        is_hub_reachable=lambda: not may_ask_hub or _is_reachable(hub),
    )


def models_at_hand(cache: Path) -> frozenset[str]:
    """The Whisper models of the catalogue that are in MODEL_CACHE_DIR."""
    return frozenset(name for name in WHISPER_MODELS if is_in_cache(name, cache / "whisper"))


def ram_bytes() -> int:
    """Of the PC."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _reading(uuid: str) -> GpuReading | None:
    from worker.adapters.gpu_nvml import read_gpu_state

    found = read_gpu_state(uuid, os.getpid())
    return None if found is None else GpuReading(found[0], has_own=found[1] is not None)


def _is_reachable(hub: str) -> bool:
    from worker.adapters.server_clock import answers

    return asyncio.run(answers(hub, timeout_s=HUB_TIMEOUT_S))
