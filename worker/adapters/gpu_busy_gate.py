"""A Gate that closes while somebody else computes on the GPU, so that a person at the PC is not slowed down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from worker.exceptions import GpuTakenError
from worker.models import Trouble
from worker.ports import Clock

CHECK_EVERY_S = 5.0


class GpuBusyGate:
    """
    Closed while other programs hold more than `limit_bytes` of the GPU's memory, the desktop included.

    Args:
        processes: bytes by process id, as NVML sees them; None where it does not answer.
        own_pids: of this worker's children now.
        used_bytes: of the GPU's memory, by all.
        own_bytes: what this worker's children held when they last ended a call; for containers, where NVML counts
            processes by the host's numbers and ours are not found among them.
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        processes: Callable[[], Mapping[int, int | None] | None],
        own_pids: Callable[[], Collection[int]],
        used_bytes: Callable[[], int | None],
        own_bytes: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._processes, self._own_pids = processes, own_pids
        self._used_bytes, self._own_bytes = used_bytes, own_bytes
        self._clock = clock
        self._checked_at_s: float | None = None
        self._trouble: Trouble | None = None
        self._looking: threading.Thread | None = None

    def trouble(self) -> Trouble | None:
        """The last answer; a new one is sought beside, at most every CHECK_EVERY_S, since a driver may be slow."""
        now = self._clock.monotonic()
        if self._checked_at_s is None:
            self._checked_at_s = now
            self._look()
        elif now - self._checked_at_s >= CHECK_EVERY_S and not (self._looking and self._looking.is_alive()):
            self._checked_at_s = now
            self._looking = threading.Thread(target=self._look, name="gpu in use", daemon=True)
            self._looking.start()
        return self._trouble

    def wait(self) -> None:
        """Until the look that is under way has ended."""
        if self._looking:
            self._looking.join()

    def _look(self) -> None:
        others_bytes = self.others_bytes()
        is_busy = others_bytes is not None and others_bytes > self._limit_bytes
        self._trouble = _trouble(others_bytes or 0, self._limit_bytes) if is_busy else None

    def others_bytes(self) -> int | None:
        """Memory of other people's programs; None when nobody can tell, which is no reason to wait."""
        own_pids, listed = set(self._own_pids()), self._processes()
        is_told = listed is not None and None not in listed.values() and (not own_pids or own_pids & set(listed))
        if listed and is_told:
            return sum(num_bytes or 0 for pid, num_bytes in listed.items() if pid not in own_pids)
        used_bytes = self._used_bytes()
        return None if used_bytes is None else max(0, used_bytes - (self._own_bytes() if own_pids else 0))


def _trouble(others_bytes: int, limit_bytes: int) -> Trouble:
    sentence = (
        f"Other programs hold {others_bytes / 1e6:,.0f} MB of the GPU's memory; above {limit_bytes / 1e6:,.0f} MB "
        "(GPU_BUSY_MB) the worker leaves the GPU to them. It goes on when they end: close them, or raise GPU_BUSY_MB."
    )
    return Trouble(code=GpuTakenError.code, sentence=sentence)
