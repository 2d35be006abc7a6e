"""Finished results that lie on this PC because whoever made them could not hand them over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from uuid import UUID

from worker import events
from worker.exceptions import Disposition, PCWorkerException
from worker.handover import SETTLED, hand_over, without_voices
from worker.job_folder import JobFolder, KeptResult, has_result, job_folders, lock_job_folder
from worker.models import ProcessingResult, Stage, WriteAnswer
from worker.ports import Clock, Observer, Store
from worker.store_calls import StoreCalls, is_set_within

HANDING_OVER_S = 60.0
"""So long a start waits for another worker of this PC that is handing over a result."""

LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class KeptResults:
    """
    Attributes:
        keeps_voices: False where no voice may outlive its meeting: then results go without.
        keeps_stages: what the stages of a completed meeting made stays on this PC, for a retry.
    """

    store: Store
    calls: StoreCalls
    temp_dir: Path
    observe: Observer
    clock: Clock
    random: Random
    keeps_voices: bool = True
    keeps_stages: bool = False
    _told: set[UUID] = field(default_factory=set)

    async def deliver_all(self, *, once: bool) -> int:
        """
        Before the registration that ends the leases of earlier runs. Waits for a database that is away until the worker
        is told to stop; with `once` that is an error. Returns how many the database took.
        """
        num_taken = 0
        for path in await asyncio.to_thread(job_folders, self.temp_dir):
            try:
                folder = await self._freed(path)
            except OSError:
                continue  # another user's; the sweep tells it
            if folder is not None:
                num_taken += await self.deliver(folder, only_once=once)
        return num_taken

    async def _freed(self, path: Path) -> JobFolder | None:
        """
        A folder with a result. Another worker of this PC, started together with this one, may be handing it over: were
        we to register and claim the meeting meanwhile, the result would be lost.
        """
        until_s = self.clock.monotonic() + HANDING_OVER_S
        while has_result(path):
            folder = lock_job_folder(path)
            if folder is not None:
                return folder
            if self.clock.monotonic() > until_s or await is_set_within(self.calls.stopping, LOOK_AGAIN_S):
                break
        return None

    async def deliver(self, folder: JobFolder, *, only_once: bool) -> bool:
        """
        Hand over the result in a locked folder, and let go of that; True when the database took it. A database that is
        away is waited for, or, with `only_once`, raised.
        """
        with closing(folder):
            kept = await asyncio.to_thread(folder.load_result)
            if kept is None:
                return False
            answer = await self._answer_to(folder, kept, only_once=only_once)
            if answer is None or answer.outcome not in SETTLED:
                return False  # hours of work: they stay until somebody has taken them
            await asyncio.to_thread(self._settle, folder, answer)
            self.observe(events.ResultReplayed(kept.meeting_id, answer.outcome))
            return not answer.is_lost

    async def _answer_to(self, folder: JobFolder, kept: KeptResult, *, only_once: bool) -> WriteAnswer | None:
        def complete(result: ProcessingResult) -> Awaitable[WriteAnswer | None]:
            call = partial(self.store.complete, kept.meeting_id, kept.token, result)
            return self.calls.repeat("complete", call, is_unwanted=self.calls.stopping.is_set, only_once=only_once)

        try:
            return await hand_over(
                folder,
                kept if self.keeps_voices else without_voices(kept),
                complete=complete,
                left_within=self.calls.left_within,
                observe=self.observe,
                random=self.random,
            )
        except PCWorkerException as error:
            if error.disposition is Disposition.INFRASTRUCTURE:
                raise
            self._tell_refusal(kept.meeting_id, error)
            return None

    def _tell_refusal(self, meeting_id: UUID, error: PCWorkerException) -> None:
        """Once: an attempt that fails each hour would be counted as many."""
        if meeting_id not in self._told:
            self._told.add(meeting_id)
            self.observe(events.MeetingFailed(meeting_id, "kept", error.code, Stage.COMMIT, error))

    def _settle(self, folder: JobFolder, answer: WriteAnswer) -> None:
        if answer.outcome == "lost":
            folder.forget_result()  # whoever has the meeting now may need what its stages left
        elif self.keeps_stages and self.keeps_voices and not answer.is_lost:
            folder.keep_stages()  # in which an attempt that might keep them may have left voices
        elif (failure := folder.remove()) is not None:
            self.observe(events.FolderNotRemoved(folder.path.name, failure))
