"""
The composition root inside an engine child: what its objects are made of. Runs there and nowhere else.

The supervisor names these functions by dotted path and sends plain values; here they become concrete objects.
"""

from __future__ import annotations

from worker.models import EnginePlan
from worker.ports import Diarizer, Transcriber


def whisperx_transcriber(
    *,
    model: str,
    cache_dir: str,
    enable_gpu: bool,
    cuda_device: int,
    num_threads: int,
) -> Transcriber:
    from worker.engine.asr_whisperx import WhisperXTranscriber
    from worker.engine.plan import FixedPlan
    from worker.engine.whisper_model import has_gpu

    device, compute_type, batch_size = ("cuda", "float16", 8) if enable_gpu and has_gpu() else ("cpu", "int8", 4)
    plan = EnginePlan(model=model, device=device, compute_type=compute_type, batch_size=batch_size)
    return WhisperXTranscriber(
        plans=FixedPlan(plan), cache_dir=cache_dir, cuda_device=cuda_device, num_threads=num_threads
    )


def diarizer(*, num_threads: int) -> Diarizer:
    from worker.engine.diarize_bundled import BundledDiarizer

    return BundledDiarizer(num_threads=num_threads)
