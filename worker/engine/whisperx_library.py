"""What both of WhisperX's halves (transcription, alignment) need around them: its errors as ours, and its silence."""

from __future__ import annotations

import importlib
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from worker.exceptions import EngineError, GpuOutOfMemoryError, OutOfMemoryError
from worker.ports import Report


@contextmanager
def hushed() -> Iterator[None]:
    """
    Import and call the libraries without their noise.

    Their deprecations and missing optional parts are nothing that anybody here can act on, and whisperx prints the
    text of passages that it cannot align, which is nobody's business.
    """
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("whisperx.asr")  # its loggers get their level when it is imported
        logging.getLogger("whisperx").setLevel(logging.CRITICAL)
        yield


LIBRARY_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch, CTranslate2 and the libraries around them raise while they compute."""


@contextmanager
def errors_mapped() -> Iterator[None]:
    """What the libraries raise, as ours."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise mapped(error) from error


def mapped(error: Exception) -> EngineError | OutOfMemoryError:
    """
    Every one asks for a new process: memory that ran out is only surely given back with it, and after an error of
    CUDA's the old one fails at everything.
    """
    reason = f"{type(error).__name__}: {error}"[:500]
    if is_gpu_out_of_memory(error):
        return GpuOutOfMemoryError(reason=reason, replace_child=True)
    if is_out_of_memory(error):
        return OutOfMemoryError(reason=reason, replace_child=True)
    return EngineError(reason=reason, replace_child=True)


def is_gpu_out_of_memory(error: Exception) -> bool:
    """
    As torch ("CUDA out of memory"), CTranslate2 ("CUDA failed with error out of memory"), cuBLAS and cuDNN put it.

    An error that stays with the process's CUDA context is none, whatever it was caused by: nothing works after it.
    """
    message = str(error).lower()
    if any(sign in message for sign in _STICKY):
        return False
    return ("cuda" in message and "out of memory" in message) or any(sign in message for sign in _ALLOC_FAILED)


def is_out_of_memory(error: Exception) -> bool:
    """The GPU's memory or the PC's (torch's allocator, a C++ `bad_alloc`)."""
    message = str(error)
    on_cpu = isinstance(error, MemoryError) or "allocate memory" in message or "not enough memory" in message
    return on_cpu or is_gpu_out_of_memory(error)


def is_gpu_lost(error: Exception) -> bool:
    """Any other error of CUDA and its libraries: this process can no longer be trusted with the GPU."""
    message = str(error).lower()
    of_gpu = any(name in message for name in ("cuda", "cublas", "cudnn", *_STICKY))
    return of_gpu and not is_gpu_out_of_memory(error)


_ALLOC_FAILED = ("cublas_status_alloc_failed", "cudnn_status_alloc_failed")
_STICKY = ("illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address")
"""Source: the errors after which "the process must be terminated", NVIDIA's CUDA Runtime API, cudaError."""


@contextmanager
def kept_alive(report: Report, *, every_s: float = 10.0) -> Iterator[None]:
    """Report that nothing is done yet, again and again, during a call that says nothing: a download is no stall."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(every_s):
            report(0.0)

    thread = threading.Thread(target=repeat, name="kept-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
