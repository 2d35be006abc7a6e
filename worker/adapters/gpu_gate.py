"""One worker per GPU on a PC: the others wait, stay in the fleet, and say for whom."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from worker.exceptions import GpuTakenError
from worker.models import GpuFacts, Trouble

_SOCKETS = Path("/proc/net/unix")


class GpuGate:
    """
    Takes the GPU at the first question and holds it until `close`, or until the process ends however it ends.

    The lock is an abstract Unix socket (unix(7)), as for WORKER_ID: the kernel frees it, and no file is left behind. It
    is named by the GPU's UUID, because numbers differ between libraries and after a change of hardware. A second socket
    beside it carries the holder's WORKER_ID for all to read in proc_net(5). Containers with a network of their own do
    not see each other's.
    """

    def __init__(self, gpu: GpuFacts, worker_id: str) -> None:
        self._gpu, self._worker_id = gpu, worker_id
        # hashed, because both names must fit into the 107 bytes of a socket's
        self._name = f"pc-worker/gpu/{hashlib.sha256(gpu.uuid.encode()).hexdigest()[:16]}"
        self._held: list[socket.socket] = []

    def trouble(self) -> Trouble | None:
        if not self._held and not self._take():
            return Trouble(code=GpuTakenError.code, sentence=self._sentence(self._holder()))
        return None

    def close(self) -> None:
        while self._held:
            self._held.pop().close()

    def _take(self) -> bool:
        lock = _bound(self._name)
        if lock is None:
            return False
        label = _bound(f"{self._name}/{self._worker_id}")
        self._held = [lock] if label is None else [lock, label]
        return True

    def _holder(self) -> str | None:
        """Its WORKER_ID; None when it has just gone."""
        try:
            lines = _SOCKETS.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        names = (line.rpartition(f" @{self._name}/")[2] for line in lines if f" @{self._name}/" in line)
        return next(names, None)

    def _sentence(self, holder: str | None) -> str:
        who = f"the worker {holder}" if holder else "another worker"
        return (
            f"The GPU of this worker ({self._gpu.name}) is in use by {who} on the same PC. "
            "This one begins when it is free: stop the other, or give each its own CUDA_DEVICE."
        )


def _bound(name: str) -> socket.socket | None:
    """None when another process has it. Not inherited by children (PEP 446), which would go on holding it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0{name}")
    except OSError:  # in use, or else the next question finds out more
        held.close()
        return None
    return held
