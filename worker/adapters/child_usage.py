"""How much memory a child's call took at its most."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from worker.models import StageUsage

SAMPLE_EVERY_S = 0.5

_RESET_PEAK = "5"
"""Written to clear_refs it makes VmHWM begin again at what is resident now (proc_pid_clear_refs(5))."""

VramOf = Callable[[int], int | None]
"""Bytes of a GPU's memory that a process holds now; None when nobody can tell. Asked in a thread: drivers are slow."""


class UsageMeter:
    """
    Measures for as long as its block runs.

    Resident memory is the kernel's own high-water mark, so that nothing is missed; the GPU's memory is looked at twice
    a second, so that a shorter peak may be.
    """

    def __init__(self, pid: int, vram_of: VramOf | None = None) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._pid, self._vram_of = pid, vram_of
        self._can_reset = False
        self._sampling: asyncio.Task[None] | None = None
        self.usage = StageUsage()

    async def __aenter__(self) -> Self:
        with suppress(OSError):
            (self._proc / "clear_refs").write_text(_RESET_PEAK)
            self._can_reset = True
        if self._vram_of is not None:
            self._sampling = asyncio.create_task(self._sample(self._vram_of), name=f"vram of {self._pid}")
        return self

    async def __aexit__(self, *_: object) -> None:
        peak_bytes = self._peak_rss_bytes()
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.wait([self._sampling])
        self.usage = self.usage.model_copy(update={"peak_rss_bytes": peak_bytes})

    def _peak_rss_bytes(self) -> int | None:
        """None when the process is gone, or the kernel would tell the peak of its whole life."""
        if not self._can_reset:
            return None
        with suppress(OSError):
            for line in (self._proc / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None

    async def _sample(self, vram_of: VramOf) -> None:
        while True:
            held_bytes = await asyncio.to_thread(vram_of, self._pid)
            if held_bytes is not None:
                peak_bytes = max(held_bytes, self.usage.peak_vram_bytes or 0)
                self.usage = self.usage.model_copy(update={"peak_vram_bytes": peak_bytes})
            await asyncio.sleep(SAMPLE_EVERY_S)
