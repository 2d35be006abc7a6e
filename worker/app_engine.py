"""
The composition root inside an engine child: what its objects are made of. Runs there and nowhere else.

The supervisor names these functions by dotted path and sends plain values; here they become concrete objects.
"""

from __future__ import annotations

from typing import Any

from worker.ports import Diarizer, Transcriber


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


def diarizer(*, num_threads: int) -> Diarizer:
    from worker.engine.diarize_bundled import BundledDiarizer

    return BundledDiarizer(num_threads=num_threads)
