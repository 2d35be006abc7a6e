"""Plan, ladder and memory on a real GPU. The models are the clockwork ones: what is tried is memory, not text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.settings import settings_in
from tests.support.tiny_speech_models import untyped, write_whisper
from worker.adapters.gpu_nvml import gpu_processes, read_gpu, read_gpu_state
from worker.app_children import build_stages, child_objects, gpu_share
from worker.app_model_choice import plans_seen
from worker.app_plans import measured_plans
from worker.config import Settings
from worker.engine.asr_whisperx import WhisperXTranscriber
from worker.engine.measured_plans import GpuReading
from worker.engine.planner import vram_bytes
from worker.models import GpuFacts, GpuState
from worker.ports import unheard

os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # read when CUDA is first used

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

GB = 10**9
MB = 10**6
NUM_MEETINGS = 50
NUM_WARM_UP = 5
LEFT_BYTES = 1 * GB
NOBODY = {"language": "en", "prompt": None, "hotwords": None}


@pytest.fixture(scope="module")
def gpu() -> GpuFacts:
    if not untyped("torch").cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    found = read_gpu(0, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    if found is None:
        pytest.skip("NVML does not see the GPU that torch uses")
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "clockwork-tiny"
    write_whisper(folder)
    return settings_in(
        tmp_path,
        ASR_ENGINE="whisperx",
        WHISPER_MODEL=str(folder),
        DIARIZER="bundled",
        MODELS_OFFLINE="true",
        ALLOW_CPU_FALLBACK="true",
    )


def state_of(uuid: str) -> GpuState | None:
    found = read_gpu_state(uuid)
    return None if found is None else found[0]


def reading(uuid: str) -> GpuReading | None:
    """As another process would see it: what this one holds is not free."""
    state = state_of(uuid)
    return None if state is None else GpuReading(state, has_own=True)


def test_the_plan_rests_on_what_the_driver_says(gpu: GpuFacts, tmp_path: Path) -> None:
    """NVML and torch mean the same GPU and nearly the same memory; what is planned fits into it, or says otherwise."""
    state = state_of(gpu.uuid)
    assert state is not None
    free_bytes, total_bytes = untyped("torch").cuda.mem_get_info(0)
    assert state.compute_capability == untyped("torch").cuda.get_device_capability(0)
    assert abs(state.total_bytes - total_bytes) < 0.1 * total_bytes
    assert abs(state.free_bytes - free_bytes) < 1 * GB + 0.05 * total_bytes
    first, *_ = plans_seen(settings_in(tmp_path, ASR_ENGINE="whisperx"), gpu, state_of).preview(3600.0)
    may_not_fit = any("may not fit" in reason for reason in first.reasons)
    assert first.device == "cpu" or may_not_fit or vram_bytes(first) < state.free_bytes


@pytest.fixture
def hog(gpu: GpuFacts) -> Iterator[None]:
    """Another tenant, who leaves one gigabyte."""
    torch = untyped("torch")
    free_bytes, _ = torch.cuda.mem_get_info(0)
    taken = torch.empty(max(1, free_bytes - LEFT_BYTES), dtype=torch.uint8, device="cuda:0")
    yield
    del taken
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("hog")
def test_a_meeting_is_written_down_although_somebody_holds_nearly_all_memory(
    gpu: GpuFacts, settings: Settings, sample: Path
) -> None:
    """On whichever rung: small on the GPU or, when even that does not fit, on the CPU; and the plan says why."""
    plan = child_objects(settings, gpu).transcriber.kwargs["plan"]
    plans = measured_plans(**plan, read_gpu=reading)
    transcriber = WhisperXTranscriber(
        plans=plans, cache_dir=plan["cache_dir"], cuda_device=0, num_threads=2, offline=True
    )
    heard = transcriber.transcribe(sample, **NOBODY, report=unheard)
    assert heard.words
    assert heard.plan is not None
    assert heard.plan.batch_size == 2
    assert any("may not fit" in reason or "ran out" in reason for reason in heard.plan.reasons)


async def test_fifty_meetings_leave_the_gpus_memory_where_it_was(
    gpu: GpuFacts, settings: Settings, sample: Path
) -> None:
    """One process for all of them: the watermark finds nothing to replace it for."""
    share = gpu_share(gpu)
    stages = build_stages(settings, child_objects(settings, gpu), gpu, share)
    held: list[int] = []
    pids: set[int] = set()
    try:
        for _ in range(NUM_MEETINGS):
            async with stages.engine() as engine:
                await engine.transcribe(sample, **NOBODY, report=unheard)
                await engine.diarize(sample, min_speakers=None, max_speakers=None, report=unheard)
            pids |= stages.pids()
            (pid,) = stages.pids()
            held.append(share.of(pid) or 0)
    finally:
        await stages.close()
    assert len(pids) == 1
    assert max(held[NUM_WARM_UP:]) <= max(held[:NUM_WARM_UP]) + 64 * MB, held
    assert not (gpu_processes(gpu.uuid) or {}).keys() & pids, "its memory went with it"
