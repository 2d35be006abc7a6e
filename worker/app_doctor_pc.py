"""The doctor's room for the PC itself: disk, memory, and whether its service is there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.adapters import pc_facts
from worker.adapters.gpu_libraries import is_engine, wrong_libraries
from worker.adapters.gpu_nvml import gpu_processes, read_gpu, read_gpu_state
from worker.app_children import num_engines
from worker.app_doctor_check import Check, State, gigabytes
from worker.config import Settings
from worker.models import GpuFacts, GpuState

DECODED_BYTES_PER_HOUR = 16_000 * 2 * 3600
"""audio.wav: 16 kHz, mono, 16 bits."""

WHISPERX_BYTES = 4 * 10**9
"""Of memory, for each engine: model small on the CPU, its aligner and the diarizer; on a GPU the libraries alone."""

SPHINX_BYTES = 2 * 10**9


def _gpu(number: int, visible: str | None) -> GpuFacts | None:
    return read_gpu(number, visible=visible)


def _gpu_state(uuid: str) -> GpuState | None:
    """What running workers' engines hold counts as free: theirs is the plan that is asked for."""
    found = read_gpu_state(uuid)
    if found is None:
        return None
    held_bytes = sum(size or 0 for pid, size in (gpu_processes(uuid) or {}).items() if is_engine(pid))
    return found[0].model_copy(update={"free_bytes": found[0].free_bytes + held_bytes})


@dataclass(frozen=True)
class PcSenses:
    """How the doctor looks at the PC; tests bring other eyes."""

    free_bytes: Callable[[Path], int] = pc_facts.free_bytes
    available_memory_bytes: Callable[[], int] = pc_facts.available_memory_bytes
    gpu: Callable[[int, str | None], GpuFacts | None] = _gpu  # CUDA_DEVICE, CUDA_VISIBLE_DEVICES
    gpu_state: Callable[[str], GpuState | None] = _gpu_state  # by UUID
    wrong_libraries: Callable[[], list[str]] = wrong_libraries
    unit_state: Callable[[str], str | None] = pc_facts.unit_state
    hostname: Callable[[], str] = socket.gethostname


def temp_space_check(settings: Settings, senses: PcSenses) -> Check:
    """Whether a meeting would be begun, and the largest recording that is allowed fits, as it comes and decoded."""
    free = senses.free_bytes(settings.audio_temp_dir)
    needed = settings.max_audio_bytes + settings.max_audio_hours * DECODED_BYTES_PER_HOUR
    have = f"{gigabytes(free)} are free for AUDIO_TEMP_DIR"
    if free < settings.min_free_disk_bytes:
        least = gigabytes(settings.min_free_disk_bytes)
        sentence = f"{have}; below {least} (MIN_FREE_DISK_BYTES) no meeting is begun. Free the disk."
        return Check("temp_space", State.FAILED, sentence)
    if free < needed:
        sentence = f"{have}; the largest recording takes {gigabytes(needed)}. Free the disk, or lower MAX_AUDIO_BYTES."
        return Check("temp_space", State.WARNING, sentence)
    return Check("temp_space", State.OK, f"{have}.")


def memory_check(settings: Settings, senses: PcSenses) -> Check:
    """A running worker of this PC has its share already, so that too little is never more than a warning."""
    engines = num_engines(settings)
    needed = engines * (SPHINX_BYTES if settings.asr_engine == "sphinx" else WHISPERX_BYTES)
    available = senses.available_memory_bytes()
    have = f"{gigabytes(available)} of memory are free; {engines} engine process(es) take about {gigabytes(needed)}."
    if available < needed:
        remedy = "Lower ENGINE_PROCESSES, use a smaller WHISPER_MODEL, or end other programs."
        return Check("memory", State.WARNING, f"{have} {remedy}")
    return Check("memory", State.OK, have)


def unit_check(settings: Settings, senses: PcSenses) -> Check | None:
    """Whether the worker starts with the PC; nothing of one without a name."""
    if settings.worker_id is None:
        return None
    unit = unit_of(settings.worker_id, senses.hostname())
    match senses.unit_state(unit):
        case None:
            return Check("unit", State.OK, "This PC, or container, is not under systemd; nothing was looked at.")
        case "not-found":
            sentence = f"There is no service {unit}: the worker does not start with the PC. Run systemd/install.sh."
            return Check("unit", State.WARNING, sentence)
        case state if state is not None and state.startswith("enabled"):
            return Check("unit", State.OK, f"{unit} starts with the PC.")
        case state:
            sentence = f"{unit} is {state} and does not start with the PC. Run `systemctl enable --now {unit}`."
            return Check("unit", State.WARNING, sentence)


def unit_of(worker_id: str, hostname: str) -> str:
    """The service's WORKER_ID is HOST-INSTANCE; any other one is taken as the instance's name."""
    return f"pc-worker@{worker_id.removeprefix(hostname + '-') or worker_id}.service"
