"""Whether anybody opens a file, as the kernel tells it (inotify(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

IN_ACCESS = 0x1
IN_OPEN = 0x20


@contextmanager
def watched(path: Path) -> Iterator[Callable[[], bool]]:
    """Gives what tells whether the file was opened or read since."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(path), IN_ACCESS | IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify")

    def was_opened() -> bool:
        try:
            return bool(os.read(descriptor, 4096))
        except BlockingIOError:
            return False

    try:
        yield was_opened
    finally:
        os.close(descriptor)
