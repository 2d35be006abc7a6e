"""
What lies on this PC though nobody works on it any more: the folders of jobs that were broken off.

A finished result in one of them is handed over: its own worker may never come back. Any other folder stays for the next
attempt until nobody can have use for it. Whoever removes one holds its lock; one that is kept is not locked even for a
moment, because a worker that finds a folder locked begins anew in another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from worker import events
from worker.exceptions import DiskFullError, Disposition, PCWorkerException
from worker.job_folder import (
    JobFolder,
    finished_at,
    has_result,
    is_empty,
    job_folders,
    lock_job_folder,
    meeting_of,
    size_bytes_of,
)
from worker.kept_results import KeptResults
from worker.models import MeetingStatus
from worker.ports import Clock, Observer, Store
from worker.store_calls import is_set_within

DAY_S = 86400.0

Statuses = dict[UUID, MeetingStatus] | None
"""What became of meetings; one that is missing was deleted. None: the database does not say."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long, and how often to look."""

    days: float = 7.0
    stages_days: float = 0.0
    sweep_s: float = 3600.0


class Housekeeping:
    """
    Looks at every folder, at the start and hourly.

    Args:
        missing_bytes: what must go from the disk of `temp_dir` until meetings may be begun; 0 when there is room.
    """

    def __init__(
        self,
        store: Store,
        results: KeptResults,
        temp_dir: Path,
        observe: Observer,
        clock: Clock,
        keeping: Keeping,
        missing_bytes: Callable[[], int] = int,
    ) -> None:
        self._store, self._results, self._temp_dir = store, results, temp_dir
        self._observe, self._clock, self._keeping = observe, clock, keeping
        self._missing_bytes = missing_bytes
        self._is_disk_full = asyncio.Event()
        self._told: set[str] = set()
        self._ahead_since_s: dict[str, float] = {}
        self._swept: dict[str, tuple[int, int]] = {}

    def note_full_disk(self) -> None:
        """Make room soon."""
        self._is_disk_full.set()

    @asynccontextmanager
    async def at_work(self, *, once: bool) -> AsyncIterator[None]:
        """Sweeps beside the work. Whoever comes only once gets a whole sweep, before the work."""
        if once:
            await self.sweep(delivers=False)
        task = asyncio.create_task(self._sweep_until_cancelled(at_once=not once), name="housekeeping")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if once and self._is_disk_full.is_set():
                await self.make_room()  # for the next time

    async def _sweep_until_cancelled(self, *, at_once: bool) -> None:
        if at_once:
            await self.sweep(delivers=False)  # the start has just tried
        while True:
            next_s = self._clock.monotonic() + self._keeping.sweep_s
            while await is_set_within(self._is_disk_full, next_s - self._clock.monotonic()):
                self._is_disk_full.clear()
                await self.make_room()
            await self.sweep()

    async def sweep(self, *, delivers: bool = True) -> None:
        """Never fails, as `make_room`: what went wrong is told, and tried again the next time."""
        async with self._telling():
            paths = await asyncio.to_thread(job_folders, self._temp_dir)
            self._told &= {path.name for path in paths}
            if delivers:
                await self._each(paths, self._deliver)
            statuses = await self._statuses(paths)
            await self._each(paths, lambda path: self._remove_unwanted(path, statuses))

    async def make_room(self) -> None:
        """On a full disk what is kept goes as from a cache: first of completed meetings, then the oldest."""
        async with self._telling():
            if await asyncio.to_thread(self._missing_bytes):
                paths = await asyncio.to_thread(job_folders, self._temp_dir)
                await self._each(await asyncio.to_thread(sorted, paths, key=_worth), self._remove_for_room)

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no leftover is worth a worker
            self._observe(events.SweepFailed(error))
        for reason, (num_folders, size_bytes) in self._swept.items():
            self._observe(events.FoldersSwept(reason, num_folders, size_bytes))
        self._swept.clear()

    async def _each(self, paths: Iterable[Path], act: Callable[[Path], Awaitable[None]]) -> None:
        for path in paths:
            try:
                await act(path)
            except FileNotFoundError:
                continue  # whoever worked there is done
            except OSError as error:
                self._tell_once(path, error)

    # --- one folder --------------------------------------------------------------------------------------------------

    async def _deliver(self, path: Path) -> None:
        folder = lock_job_folder(path) if has_result(path) else None
        if folder is None:
            return
        try:
            await self._results.deliver(folder, only_once=True)
        except PCWorkerException as error:
            if error.disposition is not Disposition.INFRASTRUCTURE:
                raise

    async def _statuses(self, paths: list[Path]) -> Statuses:
        try:
            return await self._store.statuses([meeting_of(path) for path in paths]) if paths else {}
        except PCWorkerException as error:
            if error.disposition is not Disposition.INFRASTRUCTURE:  # that a database is away, others tell
                self._observe(events.SweepFailed(error))
            return None

    async def _remove_unwanted(self, path: Path, statuses: Statuses) -> None:
        if is_empty(path):
            with suppress(OSError):
                path.rmdir()  # who is opening it right now makes it anew
            return
        folder = lock_job_folder(path) if self._why_unwanted(path, statuses) else None
        if folder is None:
            return
        with closing(folder):
            # behind the lock once more: somebody may have worked here since, or have asked for the meeting again
            now = None if statuses is None else await self._statuses([path])
            is_answered = statuses is None or now is not None
            reason = self._why_unwanted(path, now) if is_answered else None
            if reason is not None:
                await self._remove(folder, reason)

    def _why_unwanted(self, path: Path, statuses: Statuses) -> str | None:
        if has_result(path):
            return None  # hours of work: only the answer to it ends it
        status, finished_s = None, finished_at(path)
        if statuses is not None:
            status = statuses.get(meeting_of(path))
            if status is None:
                return "gone"
            if status is MeetingStatus.CANCELLED or (status is MeetingStatus.COMPLETED and finished_s is None):
                return status.value
        if finished_s is not None and status in (None, MeetingStatus.COMPLETED):
            return "old" if self._is_older(path, finished_s, self._keeping.stages_days) else None
        return "old" if self._is_older(path, path.stat().st_mtime, self._keeping.days) else None

    def _is_older(self, path: Path, changed_s: float, days: float) -> bool:
        """What seems to be of the future was written while the clock was wrong: it ages since it was first seen."""
        age_s = time.time() - changed_s
        if age_s < 0:
            now_s = self._clock.monotonic()
            age_s = now_s - self._ahead_since_s.setdefault(path.name, now_s)
        return age_s > days * DAY_S

    async def _remove_for_room(self, path: Path) -> None:
        if is_empty(path) or has_result(path) or not await asyncio.to_thread(self._missing_bytes):
            return
        folder = lock_job_folder(path)
        if folder is None:
            return
        with closing(folder):
            if not has_result(path):
                await self._remove(folder, DiskFullError.code)

    async def _remove(self, folder: JobFolder, reason: str) -> None:
        size_bytes = await asyncio.to_thread(size_bytes_of, folder.path)
        failure = await asyncio.to_thread(folder.remove)
        if failure is not None:
            self._tell_once(folder.path, failure)
            return
        num_folders, total_bytes = self._swept.get(reason, (0, 0))
        self._swept[reason] = num_folders + 1, total_bytes + size_bytes

    def _tell_once(self, path: Path, error: OSError) -> None:
        if path.name not in self._told:
            self._told.add(path.name)
            self._observe(events.FolderNotRemoved(path.name, error))


def _worth(path: Path) -> tuple[bool, float]:
    try:
        return finished_at(path) is None, path.stat().st_mtime
    except OSError:
        return True, 0.0
