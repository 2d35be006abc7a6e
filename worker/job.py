"""
One meeting in progress: from its claim to the moment the queue knows how it ended.

Only the computing in between is ever cancelled. What was computed is on this PC's disk before it is sent, so that
neither a kill nor a database that is away can lose it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from worker import events
from worker.exceptions import PCWorkerException, SupabaseQueryError, WorkerStoppedError
from worker.handover import SETTLED, hand_over
from worker.job_folder import JobFolder, KeptResult, open_job_folder
from worker.models import Beat, Claim, Failure, KnownSpeakers, ProcessingResult, Stage, WriteAnswer
from worker.pipeline import Pipeline
from worker.ports import Clock, Observer, Store
from worker.retry import Drop, Fail, Release, verdict_of
from worker.store_calls import StoreCalls

T = TypeVar("T")

BEFORE_ENGINE_IS_FREE = frozenset({Stage.FETCH, Stage.DECODE, Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE})
"""A meeting in one of these stages has the engine still before it, or occupies it."""


@dataclass(slots=True)
class Job:
    """What heartbeat and claim loop see. `ending`: lost, cancelled, gone or release, once stopped from outside."""

    claim: Claim
    stage: Stage = Stage.FETCH
    progress: float | None = None
    ending: str | None = None
    is_committing: bool = False
    processing: asyncio.Task[ProcessingResult] | None = field(default=None, repr=False)

    @property
    def needs_engine(self) -> bool:
        return self.stage in BEFORE_ENGINE_IS_FREE

    @property
    def is_unwanted(self) -> bool:
        """Nobody waits for its result any more."""
        return self.ending in ("lost", "cancelled", "gone")

    def end(self, reason: str) -> None:
        """Stop the computing; what follows from `reason` is settled by the job's own task."""
        if not self.is_unwanted:
            self.ending = reason
        if self.processing is not None:
            self.processing.cancel()

    def beat(self) -> Beat:
        claim = self.claim
        return Beat(meeting_id=claim.meeting.id, token=claim.token, stage=self.stage, progress=self.progress)


@dataclass(frozen=True, slots=True)
class JobRunner:
    """
    Works one job after the other, or several at once; holds what they share.

    Attributes:
        keeps_stages: what the stages of a completed meeting made stays on this PC, for a retry.
    """

    store: Store
    calls: StoreCalls
    pipeline: Pipeline
    temp_dir: Path
    observe: Observer
    clock: Clock
    random: Random
    on_stage: Callable[[], None]
    keeps_stages: bool = False

    async def run(self, job: Job) -> bool:
        """Work and settle; True when the meeting is completed. Never raises but for a cancelled task."""
        meeting_id, folder = job.claim.meeting.id, None
        started = self.clock.monotonic()
        self.observe(events.MeetingClaimed(meeting_id, job.claim.token, job.claim.attempt))
        try:
            folder = open_job_folder(self.temp_dir, meeting_id, job.claim.token)
            result = await self._process(job, folder)
            if result is None:
                await self._give_up(job, folder)
                return False
            return await self._commit(job, folder, result, started)
        except Exception as error:  # noqa: BLE001 - whatever it was, the queue must hear of it
            await self._settle(job, folder, error)
            return False
        finally:
            if folder is not None:
                folder.close()

    async def _process(self, job: Job, folder: JobFolder) -> ProcessingResult | None:
        """None when the work was stopped from outside."""
        pipeline = replace(
            self.pipeline,
            observe=lambda event: self._note(job, event),
            vocabulary=lambda _: self._vocabulary(job),
            guidance=lambda _: self._guidance(job),
            known_speakers=lambda _, models: self._known_speakers(job, models),
        )
        job.processing = asyncio.create_task(pipeline.process(job.claim, folder))
        if job.ending is not None:
            job.processing.cancel()
        try:
            return await job.processing
        except asyncio.CancelledError:
            if job.ending is None:
                job.processing.cancel()
                raise
            return None

    async def _vocabulary(self, job: Job) -> tuple[str, ...]:
        meeting_id, token = job.claim.meeting.id, job.claim.token
        return await self._ask(job, "vocabulary", lambda: self.store.vocabulary(meeting_id, token))

    async def _guidance(self, job: Job) -> str | None:
        meeting_id, token = job.claim.meeting.id, job.claim.token

        async def call() -> str:
            return await self.store.guidance(meeting_id, token) or ""

        return await self._ask(job, "guidance", call) or None

    async def _known_speakers(self, job: Job, models: Sequence[str]) -> KnownSpeakers:
        meeting_id, token = job.claim.meeting.id, job.claim.token
        return await self._ask(job, "speakers", lambda: self.store.speakers(meeting_id, token, models))

    async def _ask(self, job: Job, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """What a stage has to know from the database, however long that is away."""
        answer = await self.calls.repeat(name, call, is_unwanted=lambda: job.is_unwanted)
        if answer is None:  # the job is over for us; whoever ended it cancels this, at the latest now
            raise WorkerStoppedError
        return answer

    async def _commit(self, job: Job, folder: JobFolder, result: ProcessingResult, started: float) -> bool:
        """First onto this disk, then into the database: from here on the work cannot be lost."""
        meeting_id, token = job.claim.meeting.id, job.claim.token
        job.is_committing = True
        commit_started = self.clock.monotonic()
        self._note(job, events.StageStarted(meeting_id, Stage.COMMIT))
        kept = KeptResult(meeting_id=meeting_id, token=token, result=result)
        await asyncio.to_thread(folder.save_result, kept)
        try:
            answer = await hand_over(
                folder,
                kept,
                complete=lambda r: self._insist(job, "complete", lambda: self.store.complete(meeting_id, token, r)),
                left_within=self.calls.left_within,
                observe=self.observe,
                random=self.random,
            )
            if answer is not None and answer.outcome not in SETTLED:
                raise SupabaseQueryError(f"The database answered {answer.outcome} to a result.")
        except PCWorkerException:
            folder.forget_result()
            raise
        if answer is None:
            await self._give_up(job, folder)
            return False
        if self.keeps_stages and not answer.is_lost:
            await asyncio.to_thread(folder.keep_stages)
        else:
            await self._remove(folder)
        if answer.is_lost:
            self.observe(events.MeetingDropped(meeting_id, answer.outcome))
            return False
        now = self.clock.monotonic()
        self._note(job, events.StageFinished(meeting_id, Stage.COMMIT, now - commit_started))
        self.observe(events.MeetingCompleted(meeting_id, answer.outcome, now - started, result.duration_s))
        return True

    async def _give_up(self, job: Job, folder: JobFolder) -> None:
        """Drop it or give it back; a result that is on disk waits for the next start instead."""
        if job.is_unwanted:
            await self._remove(folder)
            self.observe(events.MeetingDropped(job.claim.meeting.id, job.ending or ""))
        elif not job.is_committing:
            await self._release(job, folder)

    async def _settle(self, job: Job, folder: JobFolder | None, error: Exception) -> None:
        meeting_id, stage = job.claim.meeting.id, job.stage
        match verdict_of(error, stage=stage, attempt=job.claim.attempt, random=self.random):
            case Fail(failure):
                outcome = await self._report(job, failure)
                await self._remove_unwanted(job, folder)
                self.observe(events.MeetingFailed(meeting_id, outcome, failure.code, stage, error))
            case Release():
                await self._release(job, folder)
            case Drop(reason):
                job.ending = job.ending if job.is_unwanted else "lost"
                await self._remove_unwanted(job, folder)
                self.observe(events.MeetingDropped(meeting_id, reason))

    async def _report(self, job: Job, failure: Failure) -> str:
        meeting_id, token = job.claim.meeting.id, job.claim.token
        try:
            answer = await self._insist(job, "fail", lambda: self.store.fail(meeting_id, token, failure))
        except PCWorkerException as refused:
            return refused.code  # the lease ends by itself
        return "unreported" if answer is None else answer.outcome

    async def _release(self, job: Job, folder: JobFolder | None) -> None:
        meeting_id, token = job.claim.meeting.id, job.claim.token
        answer = await self._insist(job, "release", lambda: self.store.release(meeting_id, token))
        await self._remove_unwanted(job, folder)
        self.observe(events.MeetingReleased(meeting_id, "unreported" if answer is None else answer.outcome))

    async def _insist(self, job: Job, name: str, call: Callable[[], Awaitable[WriteAnswer]]) -> WriteAnswer | None:
        """
        To a heartbeat a meeting is lost also when this very call has ended it, and its answer is on its way or never
        came: only the answer of the call itself tells.
        """
        answer = await self.calls.repeat(name, call, is_unwanted=lambda: job.ending in ("cancelled", "gone"))
        if answer is not None and answer.is_lost:
            job.ending = answer.outcome  # no heartbeat was needed to learn it
        elif answer is not None and job.ending == "lost":
            job.ending = None
        return answer

    async def _remove_unwanted(self, job: Job, folder: JobFolder | None) -> None:
        """What was kept for the next attempt is nothing to keep when somebody cancelled or deleted the meeting."""
        if job.is_unwanted and folder is not None:
            await self._remove(folder)

    async def _remove(self, folder: JobFolder) -> None:
        """In a thread: a day of sound is not gone in a moment."""
        failure = await asyncio.to_thread(folder.remove)
        if failure is not None:
            self.observe(events.FolderNotRemoved(folder.path.name, failure))

    def _note(self, job: Job, event: events.Event) -> None:
        """What the heartbeat reports is read off the events."""
        if isinstance(event, events.StageStarted):
            job.stage, job.progress = event.stage, None
            self.on_stage()
        elif isinstance(event, events.StageProgressed):
            job.progress = event.progress
        self.observe(event)
