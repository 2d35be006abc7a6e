"""
The composition root inside an engine child: what its objects are made of. Runs there and nowhere else.

The supervisor names these functions by dotted path and sends plain values; here they become concrete objects.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.engine.voice_describer import VoiceDescriber  # not for types only: the child reads what factories return
from worker.exceptions import ModelUnavailableError
from worker.ports import Diarizer, Transcriber

if TYPE_CHECKING:
    from worker.engine.voices import VoiceEncoder

_log = logging.getLogger(__name__)


def whisperx_transcriber(
    *,
    plan: dict[str, Any],
    cuda_device: int,
    align_model: str | None,
    align_compute_type: str,
) -> Transcriber:
    """`plan`: see app_plans.plan_arguments."""
    from worker.app_plans import measured_plans
    from worker.engine.asr_whisperx import WhisperXTranscriber

    return WhisperXTranscriber(
        plans=measured_plans(**plan),
        cache_dir=plan["cache_dir"],
        cuda_device=cuda_device,
        num_threads=plan["num_threads"],
        align_model=align_model,
        align_compute_type=align_compute_type,
        allowed_languages=tuple(plan["languages"]),
        offline=plan["offline"],
    )


def diarizer(
    *,
    kind: str,
    pyannote_model: str,
    cache_dir: str,
    offline: bool,
    gpu_uuid: str | None,
    cuda_device: int,
    allow_cpu: bool,
    num_threads: int,
    describe_voices: bool,
) -> Diarizer:
    """
    Without `describe_voices` it says who speaks when and keeps nothing of any voice.
    """
    found = _diarizer(
        kind=kind,
        pyannote_model=pyannote_model,
        cache_dir=cache_dir,
        offline=offline,
        gpu_uuid=gpu_uuid,
        cuda_device=cuda_device,
        allow_cpu=allow_cpu,
        num_threads=num_threads,
    )
    if not describe_voices:
        return found
    from worker.engine.described_diarizer import DescribedDiarizer

    return DescribedDiarizer(found, describer(gpu_uuid=gpu_uuid, cuda_device=cuda_device, num_threads=num_threads))


def describer(*, gpu_uuid: str | None, cuda_device: int, num_threads: int) -> VoiceDescriber:
    """What voices sound like, where somebody else has told them apart."""
    from worker.engine.torch_device import torch_device

    device = torch_device(gpu_uuid is not None, cuda_device)
    return VoiceDescriber(_voice_encoder(), num_threads=num_threads, device=device)


@cache
def _voice_encoder() -> VoiceEncoder:
    """One for all in this child; who computes with it moves it to the device first."""
    from worker.engine.voices import VoiceEncoder

    return VoiceEncoder()


def _diarizer(
    *,
    kind: str,
    pyannote_model: str,
    cache_dir: str,
    offline: bool,
    gpu_uuid: str | None,
    cuda_device: int,
    allow_cpu: bool,
    num_threads: int,
) -> Diarizer:
    """
    `kind` as DIARIZER says. `auto` is decided here, once for the life of this child, and said in the log; what cannot
    be loaded then is replaced as well, because nobody asked for it by name.
    """
    from worker.engine.diarize_bundled import BundledDiarizer
    from worker.engine.diarize_pyannote import PyannoteDiarizer
    from worker.engine.diarizer_choice import choose_diarizer
    from worker.engine.pyannote_models import hub_of_this_process
    from worker.engine.torch_device import torch_device

    cache, hub = Path(cache_dir) / "pyannote", hub_of_this_process(offline=offline)
    choice = choose_diarizer(
        asked=kind,
        model=pyannote_model,
        cache=cache,
        has_token=hub.token is not None,
        offline=hub.is_offline,
        hub_answers=lambda: _answers(hub.address),
    )
    _log.info("diarizer_chosen", extra={"diarizer": choice.diarizer, "reason": choice.reason})
    device = torch_device(gpu_uuid is not None, cuda_device)

    def bundled() -> Diarizer:
        batch_size = _batch_size(gpu_uuid)
        return BundledDiarizer(num_threads=num_threads, device=device, batch_size=batch_size, encoder=_voice_encoder())

    if choice.diarizer == "bundled":
        return bundled()
    try:
        return PyannoteDiarizer(
            model=pyannote_model,
            cache=cache,
            hub=hub,
            device=device,
            num_threads=num_threads,
            allow_cpu=allow_cpu,
        )
    except ModelUnavailableError as error:
        if kind != "auto":
            raise
        _log.warning("pyannote_not_loaded", extra={"reason": str(error), "diarizer": "bundled"})
        return bundled()


def _batch_size(gpu_uuid: str | None) -> int | None:
    """By what is free on the GPU now, as the plan says it; pyannote's looks for itself, at each meeting."""
    from worker.adapters.gpu_nvml import read_gpu_state
    from worker.engine.planner import diarization_batch_size

    found = read_gpu_state(gpu_uuid) if gpu_uuid else None
    return diarization_batch_size(found[0].free_bytes) if found else None


def _answers(address: str) -> bool:
    """Within the three seconds that a meeting may wait for it."""
    from worker.adapters.server_clock import answers

    return asyncio.run(answers(address, timeout_s=3.0))
