"""What NVIDIA's management library (NVML) knows of the GPUs. It needs no CUDA, and takes a few MB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker.models import GpuFacts, GpuState


def read_gpu(number: int, *, visible: str | None = None) -> GpuFacts | None:
    """
    The GPU that CUDA calls `number`, if CUDA counts in the order of the PCI bus (CUDA_DEVICE_ORDER=PCI_BUS_ID), as
    nvidia-smi and NVML do. CUDA's own order begins with the fastest one.

    Args:
        number: CUDA_DEVICE, from 0.
        visible: CUDA_VISIBLE_DEVICES, through which CUDA counts: numbers, or UUIDs and beginnings of them. Of MIG
            instances (`MIG-...`) CUDA uses the first.

    Returns:
        None when there is no driver, no such GPU, or no answer. Never raises.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables"; NVML API reference, nvmlDeviceGetHandleByIndex.
    """
    try:
        with _nvml() as nvml:
            handle = _handle(nvml, number, visible)
            return None if handle is None else _facts(nvml, handle)
    except _failures():
        return None


def gpu_memory_bytes(uuid: str) -> tuple[int, int] | None:
    """Used and total, by all processes; None when there is no answer. Never raises."""
    try:
        with _nvml() as nvml:
            memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid))
            return int(memory.used), int(memory.total)
    except _failures():
        return None


def read_gpu_state(uuid: str, pid: int | None = None) -> tuple[GpuState, int | None] | None:
    """
    The GPU at this moment, with what the process `pid` holds counted as free, and how much that is.

    The second is None where NVML does not tell (in a container, whose process ids it does not know): then nothing is
    counted. All of it is None when there is no answer. Never raises.
    """
    try:
        with _nvml() as nvml:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            facts, memory = _facts(nvml, handle), nvml.nvmlDeviceGetMemoryInfo(handle)
            own_bytes = _processes(nvml, handle).get(pid or -1)
            state = GpuState(
                name=facts.name,
                uuid=facts.uuid,
                driver=facts.driver,
                total_bytes=int(memory.total),
                free_bytes=int(memory.total) - int(memory.used) + (own_bytes or 0),
                compute_capability=_capability(nvml, handle),
            )
            return state, own_bytes
    except _failures():
        return None


def gpu_processes(uuid: str) -> dict[int, int | None] | None:
    """
    Bytes of the GPU's memory by process id, of programs that compute or draw; a value is None where NVML does not tell.

    In a container the ids are the host's. None when there is no answer. Never raises.
    """
    try:
        with _nvml() as nvml:
            return _processes(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    except _failures():
        return None


@contextmanager
def _nvml() -> Iterator[Any]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _failures() -> tuple[type[Exception], ...]:
    """The package may be missing, or the library behind it; a number may be too large, an answer unreadable."""
    known = (ImportError, OSError, LookupError, ValueError)
    try:
        import pynvml
    except ImportError:
        return known
    return (*known, pynvml.NVMLError)


def _handle(nvml: Any, number: int, visible: str | None) -> Any:
    if visible is None:
        return nvml.nvmlDeviceGetHandleByIndex(number)
    name = visible.split(",")[number].strip()
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    if name.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    meant = [handle for handle in handles if name and nvml.nvmlDeviceGetUUID(handle).startswith(name)]
    return meant[0] if len(meant) == 1 else None


def _facts(nvml: Any, handle: Any) -> GpuFacts:
    return GpuFacts(
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        driver=nvml.nvmlSystemGetDriverVersion(),
        vram_bytes=nvml.nvmlDeviceGetMemoryInfo(handle).total,
    )


def _processes(nvml: Any, handle: Any) -> dict[int, int | None]:
    """A program that both computes and draws is in both lists, with the same figure."""
    listed = nvml.nvmlDeviceGetComputeRunningProcesses(handle) + nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
    return {int(process.pid): process.usedGpuMemory for process in listed}


def _capability(nvml: Any, handle: Any) -> tuple[int, int]:
    """Of a MIG instance, that of its GPU."""
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        whole = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(whole)
    return int(major), int(minor)
