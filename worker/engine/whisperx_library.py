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


@contextmanager
def errors_mapped() -> Iterator[None]:
    """What the libraries raise, as ours."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise mapped(error) from error


def mapped(error: Exception) -> EngineError | OutOfMemoryError:
    """
    Every one asks for a new process: memory that ran out is only given back with it, and after an error of CUDA's the
    old one fails at everything.
    """
    reason = f"{type(error).__name__}: {error}"[:500]
    if is_gpu_out_of_memory(error):
        return GpuOutOfMemoryError(reason=reason, replace_child=True)
    if "allocate memory" in str(error) or "not enough memory" in str(error):  # torch's allocator for the CPU
        return OutOfMemoryError(reason=reason, replace_child=True)
    return EngineError(reason=reason, replace_child=True)


def is_gpu_out_of_memory(error: Exception) -> bool:
    """As torch ("CUDA out of memory"), CTranslate2 ("CUDA failed with error out of memory") and cuBLAS put it."""
    message = str(error).lower()
    return ("cuda" in message and "out of memory" in message) or "cublas_status_alloc_failed" in message


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
