"""
What runs in the child processes, and with which environment: part of the composition root.

Nothing is imported here but names: the dotted paths are resolved in the child, so that the supervisor stays small.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import __version__
from worker.app_plans import OF_THE_PC, is_offline, plan_arguments, ram_bytes
from worker.config import Settings
from worker.engine.rung_memory import RungMemory
from worker.models import GpuFacts, Stage
from worker.ports import Clock, Gate

if TYPE_CHECKING:
    from worker.adapters.child_channel import ObjectSpec
    from worker.adapters.gpu_share import GpuShare
    from worker.adapters.stages_children import ChildStages

ENGINES: dict[str, str] = {
    "sphinx": "worker.engine.asr_sphinx:SphinxTranscriber",
    "whisperx": "worker.app_engine:whisperx_transcriber",
}

SUMMARIZERS: dict[bool, str] = {
    False: "worker.summarize.extractive:ExtractiveSummarizer",
    True: "worker.summarize.llm_summarizer:LlmSummarizer",
}
"""By whether a language model writes them."""

PREP_WATERMARK_BYTES = 1024**3
"""A child that is bigger than its watermark after a call is replaced: libraries leak."""

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_PASSED_ON_HUB = ("HF_HUB_OFFLINE", "HF_ENDPOINT")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

_FIXED = {
    "PYANNOTE_METRICS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "TOKENIZERS_PARALLELISM": "false",
    # two OpenMP threads that wait actively next to other load are hundreds of times slower than ones that sleep
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",  # likewise: numpy's threads wait actively, whatever OpenMP is told
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA_DEVICE is the number that nvidia-smi and NVML know
}


@dataclass(frozen=True, slots=True)
class ChildObjects:
    """
    What runs in the children, by dotted path, and where they are bounded otherwise than is usual; tests bring scripted
    ones, and short patience.

    Attributes:
        stall_s: for how long a stage may be silent, where it differs from `stages_children.STALL_S`.
        max_rss_bytes: the watermark of every child, if it is not that of its kind.
    """

    decoder: ObjectSpec
    transcriber: ObjectSpec
    diarizer: ObjectSpec
    describer: ObjectSpec
    summarizer: ObjectSpec
    scorer: ObjectSpec
    stall_s: Mapping[Stage, float] = field(default_factory=dict)
    max_rss_bytes: int | None = None


def child_objects(settings: Settings, gpu: GpuFacts | None = None) -> ChildObjects:
    """`gpu`: the one to compute on, see `gpu_of`."""
    from worker.adapters.child_channel import ObjectSpec

    return ChildObjects(
        decoder=ObjectSpec(
            factory="worker.adapters.decode_pyav:PyavDecoder",
            kwargs={"max_hours": settings.max_audio_hours, "max_bytes": settings.max_audio_bytes},
        ),
        transcriber=ObjectSpec(factory=ENGINES[settings.asr_engine], kwargs=_transcriber_kwargs(settings, gpu)),
        diarizer=ObjectSpec(factory="worker.app_engine:diarizer", kwargs=_diarizer_kwargs(settings, gpu)),
        describer=ObjectSpec(factory="worker.app_engine:describer", kwargs=_torch_kwargs(settings, gpu)),
        summarizer=ObjectSpec(factory=SUMMARIZERS[writes_by_model(settings)], kwargs=_summarizer_kwargs(settings)),
        scorer=ObjectSpec(factory="worker.engine.scoring:ReferenceScorer"),
    )


def _transcriber_kwargs(settings: Settings, gpu: GpuFacts | None) -> dict[str, object]:
    if settings.asr_engine == "sphinx":
        return {}
    return {
        "plan": plan_arguments(settings, gpu, num_engines=num_engines(settings), environ=os.environ),
        "cuda_device": 0,  # the child sees no other one
        "align_model": settings.align_model,
        "align_compute_type": settings.align_compute_type,
    }


def _diarizer_kwargs(settings: Settings, gpu: GpuFacts | None) -> dict[str, object]:
    return {
        "kind": settings.diarizer,
        "pyannote_model": settings.pyannote_model,
        "cache_dir": str(settings.model_cache_dir.absolute()),
        "offline": is_offline(settings, os.environ),
        "allow_cpu": settings.allow_cpu_fallback,
        "describe_voices": settings.identify_speakers,
        **_torch_kwargs(settings, gpu),
    }


def _torch_kwargs(settings: Settings, gpu: GpuFacts | None) -> dict[str, object]:
    return {
        "gpu_uuid": gpu.uuid if gpu else None,
        "cuda_device": 0,
        "num_threads": _threads_per_engine(settings),
    }


def writes_by_model(settings: Settings) -> bool:
    """Whether a language model writes the summaries."""
    return settings.summary_llm_url is not None


def _summarizer_kwargs(settings: Settings) -> dict[str, object]:
    if not writes_by_model(settings):
        return {}
    key = settings.summary_llm_key
    return {
        "url": settings.summary_llm_url,
        "model": settings.summary_llm_model,
        "key": key.get_secret_value() if key else None,
        "context_tokens": settings.summary_llm_context_tokens,
        "timeout_s": settings.summary_llm_timeout_seconds,
        "language": settings.summary_language,
    }


def num_engines(settings: Settings) -> int:
    """
    ENGINE_PROCESSES; else one where there is a GPU (it has one tenant), or one for each four cores. Never more than the
    meetings that may be in progress.
    """
    fitting = 1 if _uses_gpu(settings) else max(1, _num_cores() // 4)
    return min(settings.engine_processes or fitting, settings.max_concurrent_jobs)


def _uses_gpu(settings: Settings) -> bool:
    """Whether NVIDIA's driver is loaded; asking torch would take seconds and a hundred megabytes."""
    return settings.asr_engine == "whisperx" and settings.enable_gpu and Path("/dev/nvidiactl").exists()


def gpu_of(settings: Settings) -> GpuFacts | None:
    """The GPU that this worker's engine computes on; None without one, or when the settings leave it alone."""
    if settings.asr_engine != "whisperx" or not settings.enable_gpu:
        return None
    from worker.adapters.gpu_nvml import read_gpu

    return read_gpu(settings.cuda_device, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _threads_per_engine(settings: Settings) -> int:
    return max(1, _num_cores() // num_engines(settings))


def child_environment(
    settings: Settings, environ: Mapping[str, str] | None = None, gpu: GpuFacts | None = None
) -> dict[str, str]:
    """
    Only what a child needs of `environ` (or ours): no key of the database, no telemetry, the models' places. It sees no
    other GPU than `gpu`, named by its UUID, because NVML and CUDA may count differently.
    """
    environ = os.environ if environ is None else environ
    passed_on = {
        name: value
        for name, value in environ.items()
        if name in (*_PASSED_ON, *_PASSED_ON_HUB) or name.upper().startswith(_PASSED_ON_PREFIXES)
    }
    token = {"HF_TOKEN": settings.hf_token.get_secret_value()} if settings.hf_token else {}
    cache = settings.model_cache_dir.absolute()
    # without these the libraries write below HOME, which a service may not have
    caches = {"HF_HOME": str(cache / "huggingface"), "TORCH_HOME": str(cache / "torch")}
    offline = {"HF_HUB_OFFLINE": "1"} if is_offline(settings, environ) else {}
    visible = {"CUDA_VISIBLE_DEVICES": gpu.uuid} if gpu else {}
    return {**passed_on, **_FIXED, **caches, **token, **offline, **visible}


def gpu_share(gpu: GpuFacts) -> GpuShare:
    """What the children hold of its memory."""
    from worker.adapters.gpu_nvml import gpu_memory_bytes, gpu_processes
    from worker.adapters.gpu_share import GpuShare

    def used_bytes() -> int | None:
        found = gpu_memory_bytes(gpu.uuid)
        return None if found is None else found[0]

    return GpuShare(lambda: gpu_processes(gpu.uuid), used_bytes)


def busy_gates(
    settings: Settings, gpu: GpuFacts | None, share: GpuShare | None, stages: ChildStages, clock: Clock
) -> tuple[Gate, ...]:
    """With GPU_BUSY_MB: the gate that leaves the GPU to other programs."""
    if gpu is None or share is None or settings.gpu_busy_mb is None:
        return ()
    from worker.adapters.gpu_busy_gate import GpuBusyGate
    from worker.adapters.gpu_nvml import gpu_processes

    gate = GpuBusyGate(
        limit_bytes=settings.gpu_busy_mb * 10**6,
        processes=lambda: gpu_processes(gpu.uuid),
        own_pids=stages.pids,
        used_bytes=share.used_bytes,
        own_bytes=lambda: share.last_bytes(stages.pids()),
        clock=clock,
    )
    return (gate,)


def build_stages(
    settings: Settings, objects: ChildObjects, gpu: GpuFacts | None = None, share: GpuShare | None = None
) -> ChildStages:
    """`share`: of the GPU, watched so that a child whose memory does not come back is replaced."""
    from worker.adapters.child_process import ChildProcess
    from worker.adapters.stages_children import ChildStages
    from worker.adapters.vram_watermark import VramWatermark

    environment = child_environment(settings, gpu=gpu)
    vram_of = share.of if share else None
    memory = RungMemory(settings.model_cache_dir.absolute())

    def light(name: str, **own: ObjectSpec) -> ChildProcess:
        return ChildProcess(
            name=name,
            objects=own,
            environment=environment,
            stall_s=300.0,
            max_calls=200,
            max_rss_bytes=objects.max_rss_bytes or PREP_WATERMARK_BYTES,
        )

    # whoever waits for an endpoint must not keep the next recording from being decoded
    summary = light("summary", summarizer=objects.summarizer) if writes_by_model(settings) else None
    prep = light("prep", decoder=objects.decoder, **({} if summary else {"summarizer": objects.summarizer}))
    engines = [
        ChildProcess(
            name=f"engine-{number}",
            objects={
                "transcriber": objects.transcriber,
                "diarizer": objects.diarizer,
                "describer": objects.describer,
                "scorer": objects.scorer,
            },
            environment=environment,
            stall_s=600.0,
            max_calls=600,
            max_rss_bytes=objects.max_rss_bytes or ram_bytes() // 2,
            is_swollen=VramWatermark(vram_of).is_swollen if vram_of else None,
            vram_of=vram_of,
            ended=lambda pid, by_itself: memory.died(pid) if by_itself else memory.ended(pid),
        )
        for number in range(num_engines(settings))
    ]
    return ChildStages(
        prep=prep, engines=engines, settings=_settings_key(objects), summary=summary, stall_s=objects.stall_s
    )


def _settings_key(objects: ChildObjects) -> dict[str, str]:
    """A stage's kept value is reused only by the same version with the same settings."""
    made_by = {
        Stage.DECODE: objects.decoder,
        Stage.TRANSCRIBE: objects.transcriber,
        Stage.ALIGN: objects.transcriber,
        Stage.DIARIZE: objects.diarizer,
        Stage.SUMMARIZE: objects.summarizer,
    }
    return {stage: f"{__version__} {_without_the_pc(spec.factory, spec.kwargs)}" for stage, spec in made_by.items()}


def _without_the_pc(factory: str, arguments: Mapping[str, Any]) -> str:
    """A kept value is as good when it was made on another GPU, or with fewer threads, or with another key."""
    plan = arguments.get("plan") or {}
    left_out = {"plan", "key", "timeout_s", *OF_THE_PC}
    kept = {name: value for name, value in {**arguments, **plan}.items() if name not in left_out}
    return f"{factory} {kept!r}"
