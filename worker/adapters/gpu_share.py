"""How much of a GPU's memory our children hold, also where the driver counts processes by other numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path


class GpuShare:
    """
    Answers from any thread.

    NVML names processes by the host's ids. Inside a container ours are not among them; then a child's share is what has
    been added to the GPU's used memory since the child was first asked about, which is before it loads anything.

    Args:
        processes: bytes by process id, a value None where they are not told; None without an answer.
        used_bytes: of the GPU's memory, by all.
    """

    def __init__(
        self, processes: Callable[[], Mapping[int, int | None] | None], used_bytes: Callable[[], int | None]
    ) -> None:
        self._processes, self.used_bytes = processes, used_bytes
        self._base_bytes: dict[int, int] = {}
        self._held_bytes: dict[int, int] = {}

    def of(self, pid: int) -> int | None:
        """What a child holds now; None when nobody can tell."""
        listed = self._processes() or {}
        held_bytes = listed.get(pid)
        if held_bytes is None:
            held_bytes = 0 if _are_ours(listed) and pid not in listed else self._since_first_asked(pid)
        if held_bytes is not None:
            self._held_bytes[pid] = held_bytes
        return held_bytes

    def last_bytes(self, pids: Collection[int]) -> int:
        """What these held when they were last asked about; the others are forgotten."""
        self._base_bytes = {pid: size for pid, size in self._base_bytes.items() if pid in pids}
        self._held_bytes = {pid: size for pid, size in self._held_bytes.items() if pid in pids}
        return sum(self._held_bytes.values())

    def _since_first_asked(self, pid: int) -> int | None:
        used_bytes = self.used_bytes()
        if used_bytes is None:
            return None
        return max(0, used_bytes - self._base_bytes.setdefault(pid, used_bytes))


def _are_ours(listed: Collection[int]) -> bool:
    """Whether these ids are of the processes that we see; the host's are not, seen from a container."""
    return bool(listed) and all(Path(f"/proc/{pid}").exists() for pid in listed)
