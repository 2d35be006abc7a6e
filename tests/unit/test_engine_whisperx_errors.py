"""What the libraries raise, told apart by their words: memory that ran out, a GPU that is lost, anything else."""

from __future__ import annotations

import pytest

from worker.engine.whisperx_library import errors_mapped, is_gpu_lost
from worker.exceptions import EngineError, GpuOutOfMemoryError, OutOfMemoryError, PCWorkerException

OF_THE_GPU = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB",
    "CUDA failed with error out of memory",
    "cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
]
LOST = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "CUDA failed with error an illegal memory access was encountered; then: CUDA out of memory",
    "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
    "cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA failed with error unspecified launch failure",
]


def mapped(error: Exception) -> PCWorkerException:
    with pytest.raises(PCWorkerException) as caught, errors_mapped():
        raise error
    return caught.value


@pytest.mark.parametrize("message", OF_THE_GPU)
def test_memory_of_the_gpu_that_ran_out_is_a_rung_of_the_ladder(message: str) -> None:
    assert type(mapped(RuntimeError(message))) is GpuOutOfMemoryError
    assert not is_gpu_lost(RuntimeError(message))


@pytest.mark.parametrize("message", LOST)
def test_a_gpu_that_is_lost_replaces_the_process_and_is_no_rung(message: str) -> None:
    error = mapped(RuntimeError(message))
    assert type(error) is EngineError
    assert error.details["replace_child"] is True
    assert is_gpu_lost(RuntimeError(message))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("not enough memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_of_the_pc_that_ran_out_is_told_apart(error: Exception) -> None:
    assert type(mapped(error)) is OutOfMemoryError


def test_anything_else_is_a_failure_of_the_engine() -> None:
    error = mapped(ValueError("batch_size should be a positive integer value"))
    assert type(error) is EngineError
    assert not is_gpu_lost(ValueError("batch_size"))
    assert "batch_size" in str(error.details["reason"])
