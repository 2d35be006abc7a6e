"""
One attempt at a meeting's stages: each is observed, timed, and kept in the job folder for the next attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel

from worker import events
from worker.deadline import ended_at
from worker.exceptions import (
    DeadlineExceededError,
    DiskFailedError,
    DiskFullError,
    Disposition,
    FailureKind,
    PCWorkerException,
)
from worker.job_folder import JobFolder, value_key
from worker.models import AudioMetadata, Claim, Diarization, ResultWarning, Stage, StageCost, StageUsage
from worker.ports import Clock, Observer, Report, channel_paths

T = TypeVar("T")
V = TypeVar("V", bound=BaseModel)

_ORDER = {stage: number for number, stage in enumerate(Stage)}

_DISK = frozenset({DiskFullError.code, DiskFailedError.code})

Usage = Callable[[Stage], StageUsage]
"""Of whom to ask what a stage took: the engine that worked it, or the stages for those without one."""


@dataclass(slots=True)
class StageRun:
    """
    What each stage cost, and warnings, as they come.

    Attributes:
        settings_key: for each stage name, what its value depends on besides what the caller names.
        keeps_voices: False where no voice may outlive its meeting: then none is described anywhere from here on.
        ends_at_s: on the loop's clock, for the stages that share an engine; None outside of them.
    """

    claim: Claim
    folder: JobFolder
    observe: Observer
    clock: Clock
    settings_key: Mapping[str, str]
    keeps_voices: bool = True
    costs: dict[Stage, StageCost] = field(default_factory=dict)
    reused: list[Stage] = field(default_factory=list)
    warnings: list[ResultWarning] = field(default_factory=list)
    ends_at_s: float | None = None

    @property
    def meeting_id(self) -> UUID:
        return self.claim.meeting.id

    def key(self, stage: Stage, *depends_on: object) -> str:
        """
        Of the stage's value. What was made before somebody asked for this stage anew has another one; what the attempts
        since then have made has the same, so that a crash does not cost it.
        """
        asked = [number for first, number in self.claim.anew_from.items() if _ORDER[first] <= _ORDER[stage]]
        return value_key(self.settings_key.get(stage), *depends_on, *([max(asked)] if asked else []))

    async def kept(
        self,
        stage: Stage,
        kind: type[V],
        depends_on: tuple[object, ...],
        work: Callable[[Report], Awaitable[V]],
        *,
        usage: Usage,
    ) -> V:
        """The stage's value: from an earlier attempt if it was made from the same things, otherwise by working."""
        key = self.key(stage, *depends_on)
        kept = await asyncio.to_thread(self.folder.load, stage, key, kind)
        if kept is not None and not self._has_its_sound(kept[0]):
            kept = None
        if kept is not None:
            self.observe(events.StageFinished(self.meeting_id, stage, 0.0, reused=True))
            self.reused.append(stage)
            value, self.costs[stage] = kept
        else:
            value = await self.timed(stage, work, usage)
        allowed = value if self.keeps_voices else _without_voices(value)
        if kept is None or allowed is not value:
            await asyncio.to_thread(self.folder.save, stage, key, allowed, self.costs[stage])
        return allowed

    def _has_its_sound(self, value: BaseModel) -> bool:
        """What is known of a recording is nothing without the files that were written with it."""
        if not isinstance(value, AudioMetadata):
            return True
        channels = channel_paths(self.folder.wav) if value.channels_apart else ()
        return all(path.is_file() for path in (self.folder.wav, *channels))

    async def optional(
        self,
        stage: Stage,
        kind: type[V],
        depends_on: tuple[object, ...],
        work: Callable[[Report], Awaitable[V]],
        *,
        usage: Usage,
    ) -> V | None:
        """A stage whose failure must not cost the transcript: what may pass is tried once more, the rest degrades."""
        try:
            return await self.kept(stage, kind, depends_on, work, usage=usage)
        except PCWorkerException as error:
            if not self.may_degrade(error):
                raise
            self.observe(events.StageDegraded(self.meeting_id, stage, error.code, error))
            self.warnings.append(ResultWarning(code=f"{stage}_failed", message=_SORRY[stage], stage=stage))
            return None

    def may_degrade(self, error: PCWorkerException) -> bool:
        """Whether the meeting is worth finishing without what failed."""
        if error.disposition in (Disposition.LEASE_LOST, Disposition.STOP) or error.code in _DISK:
            return False
        is_crash = error.counts_as is FailureKind.CRASH
        may_be_the_others = isinstance(error, DeadlineExceededError) and self.ends_at_s is not None
        return not ((is_crash or may_be_the_others) and self.claim.attempt == 1)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """The stages within may take so long together; what an earlier attempt has made of them takes no time."""
        self.ends_at_s = asyncio.get_running_loop().time() + seconds
        try:
            yield
        finally:
            self.ends_at_s = None

    async def timed(self, stage: Stage, work: Callable[[Report], Awaitable[T]], usage: Usage | None = None) -> T:
        def report(progress: float) -> None:
            self.observe(events.StageProgressed(self.meeting_id, stage, progress))

        self.observe(events.StageStarted(self.meeting_id, stage))
        started = self.clock.monotonic()
        async with ended_at(self.ends_at_s):
            value = await work(report)
        seconds = self.clock.monotonic() - started
        used = usage(stage) if usage else StageUsage()
        self.costs[stage] = StageCost(seconds=round(seconds, 3), **used.model_dump())
        self.observe(events.StageFinished(self.meeting_id, stage, seconds))
        return value


def _without_voices(value: V) -> V:
    """A diarization without what its voices sound like; anything else as it is."""
    if isinstance(value, Diarization) and value.embeddings:
        return value.model_copy(update={"embeddings": ()})
    return value


_SORRY = {
    Stage.DIARIZE: "The speakers could not be told apart; the transcript is complete. Retry the meeting to try again.",
    Stage.SUMMARIZE: "The summary could not be written; the transcript is complete. Retry the meeting to try again.",
}
