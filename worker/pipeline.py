"""
The stages of one meeting, in order, in one function. This is the only place that states the order.

    claim -> fetch -> decode -> transcribe -> align -> diarize -> turns -> identify -> summarize -> commit
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel

from worker import events
from worker.exceptions import AudioMissingError, DeadlineExceededError, Disposition, FailureKind, PCWorkerException
from worker.hotwords import with_vocabulary
from worker.job_folder import JobFolder, value_key
from worker.models import (
    AudioMetadata,
    Claim,
    Diarization,
    MeetingSummary,
    ProcessingResult,
    ResultWarning,
    Stage,
    StageCost,
    StageUsage,
    Transcript,
    TranscriptSegment,
)
from worker.ports import Clock, Fetcher, Observer, Report, Stages, Storage
from worker.results import result_of
from worker.turns import assign_speakers

T = TypeVar("T")
V = TypeVar("V", bound=BaseModel)

Usage = Callable[[Stage], StageUsage]
"""Of whom to ask what a stage took: the engine that worked it, or the stages for those without one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one meeting. The deadline counts from the moment that it has an engine."""

    max_audio_bytes: int
    deadline_s: float = 7200.0
    deadline_rtf: float = 6.0

    def deadline_for(self, audio_s: float) -> float:
        return max(self.deadline_s, self.deadline_rtf * audio_s)


async def no_vocabulary(_claim: Claim) -> tuple[str, ...]:
    """Of a pipeline that has no queue behind it."""
    return ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """
    The ports that the stages need; the same for every meeting. `vocabulary`: names and terms that may occur in a
    meeting, besides its own hotwords.
    """

    storage: Storage
    web: Fetcher
    stages: Stages
    observe: Observer
    clock: Clock
    limits: Limits
    vocabulary: Callable[[Claim], Awaitable[tuple[str, ...]]] = no_vocabulary

    async def process(self, claim: Claim, folder: JobFolder) -> ProcessingResult:
        """
        From a claim to everything that is written about the meeting; nothing is written to the database here.

        Raises whatever ended the attempt; the values of finished stages stay in the folder for the next one.
        """
        meeting, run = claim.meeting, _Run(self, claim, folder)

        # before the long stages, while the database that gave the claim is there, and the engine is not held for it
        hotwords = with_vocabulary(meeting.hotwords, await self.vocabulary(claim))
        source = await run.fetch()
        audio = await run.kept(
            Stage.DECODE,
            AudioMetadata,
            (source,),
            lambda report: self.stages.decode(folder.source, folder.wav, report),
            usage=self.stages.usage,
        )
        async with self.stages.engine() as engine, _deadline(self.limits.deadline_for(audio.duration_s)):
            heard = await run.kept(
                Stage.TRANSCRIBE,
                Transcript,
                (audio.sha256, meeting.language, meeting.prompt, hotwords),
                lambda report: engine.transcribe(
                    folder.wav,
                    language=meeting.language,
                    prompt=meeting.prompt,
                    hotwords=hotwords,
                    report=report,
                ),
                usage=engine.usage,
            )
            transcript = await run.kept(
                Stage.ALIGN,
                Transcript,
                (audio.sha256, heard.model_dump_json()),
                lambda report: engine.align(folder.wav, heard, report),
                usage=engine.usage,
            )
            voices = await run.optional(
                Stage.DIARIZE,
                Diarization,
                (audio.sha256, meeting.min_speakers, meeting.max_speakers),
                lambda report: engine.diarize(
                    folder.wav, min_speakers=meeting.min_speakers, max_speakers=meeting.max_speakers, report=report
                ),
                usage=engine.usage,
            )
        segments = await run.turns(transcript, voices)
        summary = await run.optional(
            Stage.SUMMARIZE,
            MeetingSummary,
            (transcript.language, [segment.model_dump_json() for segment in segments]),
            lambda report: self.stages.summarize(segments, language=transcript.language, report=report),
            usage=self.stages.usage,
        )
        return result_of(
            audio=audio,
            transcript=transcript,
            voices=voices,
            segments=segments,
            summary=summary,
            costs=run.costs,
            reused=run.reused,
            warnings=run.warnings,
        )


@dataclass(slots=True)
class _Run:
    """One attempt: what each stage cost, and warnings, as they come."""

    pipeline: Pipeline
    claim: Claim
    folder: JobFolder
    costs: dict[Stage, StageCost] = field(default_factory=dict)
    reused: list[Stage] = field(default_factory=list)
    warnings: list[ResultWarning] = field(default_factory=list)

    @property
    def meeting_id(self) -> UUID:
        return self.claim.meeting.id

    def observe(self, event: events.Event) -> None:
        self.pipeline.observe(event)

    async def fetch(self) -> str:
        """The recording in the job folder; the answer names its content for the key of what is made from it."""
        meeting, target = self.claim.meeting, self.folder.source
        limit = self.pipeline.limits.max_audio_bytes

        async def work(report: Report) -> None:
            if meeting.audio_path:
                await self.pipeline.storage.fetch(meeting.audio_path, target, max_bytes=limit, report=report)
            elif meeting.audio_url:
                await self.pipeline.web.fetch(meeting.audio_url, target, max_bytes=limit, report=report)
            else:
                raise AudioMissingError("The meeting names no recording. Set its audio_path or its audio_url.")

        await self.timed(Stage.FETCH, work)
        stat = target.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"

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
        key = value_key(self.pipeline.stages.settings_key().get(stage), *depends_on)
        kept = await asyncio.to_thread(self.folder.load, stage, key, kind)
        if kept is not None and (stage is not Stage.DECODE or self.folder.wav.is_file()):
            self.observe(events.StageFinished(self.meeting_id, stage, 0.0, reused=True))
            self.reused.append(stage)
            value, self.costs[stage] = kept
            return value
        value = await self.timed(stage, work, usage)
        await asyncio.to_thread(self.folder.save, stage, key, value, self.costs[stage])
        return value

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
            if not self._may_degrade(error):
                raise
            self.observe(events.StageDegraded(self.meeting_id, stage, error.code, error))
            self.warnings.append(ResultWarning(code=f"{stage}_failed", message=_SORRY[stage], stage=stage))
            return None

    def _may_degrade(self, error: PCWorkerException) -> bool:
        if error.disposition in (Disposition.LEASE_LOST, Disposition.STOP) or error.code == "disk_full":
            return False
        is_crash = error.counts_as is FailureKind.CRASH
        return not (is_crash and self.claim.attempt == 1)

    async def turns(self, transcript: Transcript, voices: Diarization | None) -> tuple[TranscriptSegment, ...]:
        async def work(_report: Report) -> tuple[TranscriptSegment, ...]:
            return await asyncio.to_thread(assign_speakers, transcript.words, voices)

        return await self.timed(Stage.TURNS, work)

    async def timed(self, stage: Stage, work: Callable[[Report], Awaitable[T]], usage: Usage | None = None) -> T:
        def report(progress: float) -> None:
            self.observe(events.StageProgressed(self.meeting_id, stage, progress))

        self.observe(events.StageStarted(self.meeting_id, stage))
        started = self.pipeline.clock.monotonic()
        value = await work(report)
        seconds = self.pipeline.clock.monotonic() - started
        used = usage(stage) if usage else StageUsage()
        self.costs[stage] = StageCost(seconds=round(seconds, 3), **used.model_dump())
        self.observe(events.StageFinished(self.meeting_id, stage, seconds))
        return value


_SORRY = {
    Stage.DIARIZE: "The speakers could not be told apart; the transcript is complete. Retry the meeting to try again.",
    Stage.SUMMARIZE: "The summary could not be written; the transcript is complete. Retry the meeting to try again.",
}


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """asyncio.timeout whose error says what happened."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if timeout.expired():
            raise DeadlineExceededError from None
        raise
