"""One process per WORKER_ID on this PC."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.exceptions import WorkerIdTakenError


@contextmanager
def worker_id_lock(worker_id: str) -> Iterator[None]:
    """
    Hold the name for as long as the block runs, or the process lives.

    An abstract Unix socket (unix(7)): the kernel frees it whatever ends the process, no file is left behind, and it
    does not depend on which folders two workers were given.

    Raises:
        WorkerIdTakenError: another process on this PC holds it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(f"\0pc-worker/{worker_id}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise WorkerIdTakenError(
                f"A worker with WORKER_ID={worker_id} is already running on this PC. "
                "Stop it, or give this one another WORKER_ID."
            ) from None
        yield


def is_worker_id_held(worker_id: str) -> bool:
    """Whether a process on this PC holds the name; looks only (proc_net(5)), so that no start is ever disturbed."""
    sockets = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.endswith(f" @pc-worker/{worker_id}") for line in sockets)
