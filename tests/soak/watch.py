"""What is looked at every second of the run: the rows' invariants, and what each process holds."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from tests.soak.database import Client, Server
from tests.soak.pc import PC, Reading, children_of
from tests.support.queue_invariants import BROKEN

EVERY_S = 1.0
HALF_WRITTEN = """
select 'a completed meeting has segments, speakers and what it cost' from public.meetings m
 where m.status = 'completed'
   and (m.result is null or not exists (select from public.transcript_segments s where s.meeting_id = m.id)
        or not exists (select from public.meeting_speakers s where s.meeting_id = m.id))
"""
_PR_SET_CHILD_SUBREAPER = 36


class Watch:
    """One thread. Orphans of workers become our children (prctl(2)), so that none can hide."""

    def __init__(self, server: Server, pcs: Sequence[PC], began: float) -> None:
        self.broken: Counter[str] = Counter()
        self.num_looks = 0
        self.shared_memory: set[str] = set()
        self.database_bytes: list[int] = []
        self._server, self._pcs, self._began = server, pcs, began
        self._eyes = Client(server.dsn, "soak: watch")
        self._dead: set[int] = set()

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(EVERY_S):
            now_s = time.monotonic() - self._began
            for pc in self._pcs:
                pc.read(now_s)
            for pid in descendants_of(os.getpid()):
                self.shared_memory |= shared_memory_of(pid)
            self._reap()
            self._look()
        self._eyes.close()

    def _look(self) -> None:
        """Unless the database is away at this moment."""
        with suppress(psycopg.OperationalError):
            self.broken.update(name for (name,) in self._eyes.rows(f"{BROKEN} union all {HALF_WRITTEN}", patience_s=0))
            self.num_looks += 1
            self.database_bytes.append(sum(map(memory_of, self._server.pids)))

    def _reap(self) -> None:
        """Orphans that have ended. Not at first sight: one of our own threads may be waiting for that process."""
        dead = {pid for pid in children_of(os.getpid()) if is_dead(pid)}
        for pid in dead & self._dead:
            if pid not in {life.pid for pc in self._pcs for life in pc.lives[-1:]}:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        self._dead = dead


def adopt_orphans() -> None:
    """From now on whatever outlives its parent below us becomes our child."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants_of(pid: int) -> list[int]:
    children = children_of(pid)
    return [*children, *(below for child in children for below in descendants_of(child))]


def is_dead(pid: int) -> bool:
    """Gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def shared_memory_of(pid: int) -> set[str]:
    """The files in /dev/shm that the process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    return {line.split()[-1] for line in lines if "/dev/shm/" in line and not line.endswith("(deleted)")}


def memory_of(pid: int) -> int:
    """Bytes, shared memory divided among those who share it; 0 when the process is gone or may not be looked at."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the process that lived longest: medians over the second and over the last third of its life."""

    lived_s: float
    rss_mb: tuple[float, float]
    num_fds: tuple[float, float]
    num_threads: tuple[float, float]

    @property
    def is_growing(self) -> bool:
        return (
            self.rss_mb[1] > self.rss_mb[0] + 5.0
            or self.num_fds[1] > self.num_fds[0] + 4
            or self.num_threads[1] > self.num_threads[0] + 2
        )


def growth_of(readings: Sequence[Reading]) -> Growth:
    third = max(1, len(readings) // 3)
    middle, last = readings[third : 2 * third] or readings, readings[-third:]

    def both(name: str) -> tuple[float, float]:
        return tuple(float(median(getattr(reading, name) for reading in part)) for part in (middle, last))  # type: ignore[return-value]  # two of them

    rss = both("rss_bytes")
    return Growth(
        lived_s=readings[-1].at_s - readings[0].at_s,
        rss_mb=(round(rss[0] / 2**20, 1), round(rss[1] / 2**20, 1)),
        num_fds=both("num_fds"),
        num_threads=both("num_threads"),
    )
