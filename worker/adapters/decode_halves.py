"""
Both halves of a long recording at once: the earlier one here, the later one in a process of its own.

Threads would not do: a decoder asks for Python's lock at every packet of 20 ms, and two of them together took as long
as one after the other (measured, PyAV 18.1, Python 3.11). The process is this module, started with `-m`. Only plain WAV
files, which need no decoder, are left to a thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from threading import Event

from worker.adapters.decode_container import Header
from worker.adapters.decode_measures import Measures
from worker.adapters.decode_part import IrregularError, Plan, Source, decode_half
from worker.adapters.decode_soundfile import is_plain_wav
from worker.ports import Report

PACKAGE_ROOT = Path(__file__).parents[2]


def decode_halves(source: Source, plan: Plan, scratches: tuple[FileIO, FileIO], report: Report) -> Measures:
    """As `decode_whole`, with the later half in the second scratch file. Raises IrregularError if it cannot be done."""
    begin_later = later_thread if is_plain_wav(plan.header) else later_process
    with begin_later(source, plan, scratches[1]) as later:
        earlier = decode_half(source, plan, scratches[0], report, is_later=False)
        return earlier.plus(later())


@contextmanager
def later_thread(source: Source, plan: Plan, scratch: FileIO) -> Iterator[Callable[[], Measures]]:
    """Gives what waits for its result. libsndfile and soxr work outside of Python's lock."""
    stopped = Event()

    def report(_: float) -> None:
        if stopped.is_set():
            raise IrregularError("the earlier half failed")

    with ThreadPoolExecutor(1, thread_name_prefix="later-half") as pool:
        future = pool.submit(decode_half, source, plan, scratch, report, is_later=True)
        try:
            yield future.result
        finally:
            stopped.set()


@contextmanager
def later_process(source: Source, plan: Plan, scratch: FileIO) -> Iterator[Callable[[], Measures]]:
    """Gives what waits for its result. The process is killed when the earlier half fails."""
    task = {"source": asdict(source) | {"path": str(source.path.absolute())}, "plan": asdict(plan)}
    with subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(task), str(scratch.fileno())],
        cwd=PACKAGE_ROOT,
        pass_fds=(scratch.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:

        def result() -> Measures:
            answer, _ = process.communicate()
            if process.returncode != 0:
                raise IrregularError("the later half failed")
            return Measures(**json.loads(answer))

        try:
            yield result
        finally:
            process.kill()


def main(task: str, descriptor: str) -> None:
    fields = json.loads(task)
    source = Source(**fields["source"] | {"path": Path(fields["source"]["path"])})
    plan = Plan(**fields["plan"] | {"header": Header(**fields["plan"]["header"])})
    with os.fdopen(int(descriptor), "r+b", buffering=0) as scratch:
        measures = decode_half(source, plan, scratch, lambda _: None, is_later=True)
    sys.stdout.write(json.dumps(asdict(measures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
