"""WhisperX's errors as ours, and its silent calls."""

from __future__ import annotations

import threading

import pytest

from worker.engine.whisperx_library import errors_mapped, kept_alive, mapped
from worker.exceptions import (
    EngineError,
    GpuOutOfMemoryError,
    OutOfMemoryError,
    PCWorkerException,
    UnsupportedLanguageError,
)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (RuntimeError("CUDA failed with error out of memory"), GpuOutOfMemoryError),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), GpuOutOfMemoryError),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), GpuOutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), OutOfMemoryError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), EngineError),
        (IndexError("list index out of range"), EngineError),
    ],
)
def test_errors_are_told_apart_and_cost_the_process(error: Exception, ours: type[PCWorkerException]) -> None:
    """Memory comes back only with the process, and after an error of CUDA's everything fails in it."""
    told = mapped(error)
    assert type(told) is ours
    assert told.details["replace_child"] is True


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(UnsupportedLanguageError), errors_mapped():
        raise UnsupportedLanguageError


def test_a_silent_call_is_kept_alive_only_while_it_lasts() -> None:
    reported: list[float] = []
    twice = threading.Event()

    def report(progress: float) -> None:
        reported.append(progress)
        if len(reported) == 2:
            twice.set()

    with kept_alive(report, every_s=0.001):
        assert twice.wait(10.0)
    num_reported = len(reported)
    assert not [thread for thread in threading.enumerate() if thread.name == "kept-alive"]
    assert reported == [0.0] * num_reported
