"""A child whose GPU memory does not come back to where it was after its first meetings is to be replaced."""

from __future__ import annotations

from collections.abc import Callable

LAST_OF_A_MEETING = "diarizer.diarize"

NUM_FIRST = 3
"""Meetings that a process is given to find its level: allocators keep what the longest of them needed."""

SLACK_BYTES = 512 * 1024**2
SLACK_SHARE = 0.1


class VramWatermark:
    """
    Asked after each call of a child; remembers one process, since a child has one at a time.

    Args:
        vram_of: bytes that a process holds of the GPU's memory; None when nobody can tell.
    """

    def __init__(self, vram_of: Callable[[int], int | None]) -> None:
        self._vram_of = vram_of
        self._pid = 0
        self._num_meetings = 0
        self._base_bytes = 0
        self.last_bytes = 0

    def is_swollen(self, pid: int, object_method: str) -> bool:
        """Whether it holds clearly more at the end of a meeting than at the end of its first ones."""
        if object_method != LAST_OF_A_MEETING:
            return False
        held_bytes = self._vram_of(pid)
        if held_bytes is None:
            return False
        if pid != self._pid:
            self._pid, self._num_meetings, self._base_bytes = pid, 0, 0
        self.last_bytes = held_bytes
        self._num_meetings += 1
        if self._num_meetings <= NUM_FIRST:
            self._base_bytes = max(self._base_bytes, held_bytes)
            return False
        return held_bytes > self._base_bytes * (1 + SLACK_SHARE) + SLACK_BYTES
