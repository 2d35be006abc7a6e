"""
The stages of one meeting, in order, in one function. This is the only place that states the order.

    claim -> fetch -> decode -> transcribe -> align -> diarize -> turns -> identify -> summarize -> commit
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.channels import wished_channels
from worker.exceptions import AudioMissingError, DeadlineExceededError
from worker.hearing import Heard, hear
from worker.hotwords import with_vocabulary
from worker.job_folder import JobFolder
from worker.models import (
    AudioMetadata,
    Claim,
    MeetingSummary,
    ProcessingResult,
    Stage,
    TranscriptSegment,
)
from worker.ports import Clock, Fetcher, Observer, Report, Stages, Storage
from worker.results import result_of
from worker.stage_run import StageRun


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


async def no_guidance(_claim: Claim) -> str | None:
    """Of a pipeline that has no queue behind it."""
    return None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """
    The ports that the stages need; the same for every meeting. `vocabulary`: names and terms that may occur in a
    meeting, besides its own hotwords. `guidance`: what its owner wants of a summary.
    """

    storage: Storage
    web: Fetcher
    stages: Stages
    observe: Observer
    clock: Clock
    limits: Limits
    vocabulary: Callable[[Claim], Awaitable[tuple[str, ...]]] = no_vocabulary
    guidance: Callable[[Claim], Awaitable[str | None]] = no_guidance

    async def process(self, claim: Claim, folder: JobFolder) -> ProcessingResult:
        """
        From a claim to everything that is written about the meeting; nothing is written to the database here.

        Raises whatever ended the attempt; the values of finished stages stay in the folder for the next one.
        """
        run = StageRun(claim, folder, self.observe, self.clock, self.stages.settings_key())

        # before the long stages, while the database that gave the claim is there, and the engine is not held for it
        hotwords = with_vocabulary(claim.meeting.hotwords, await self.vocabulary(claim))
        guidance = await self.guidance(claim)
        source = await self._fetch(run)
        audio = await self._decode(run, source)
        async with self.stages.engine() as engine, _deadline(self.limits.deadline_for(audio.duration_s)):
            heard = await hear(run, engine, audio, hotwords)
        segments = await self._turns(run, heard)
        summary = await self._summarize(run, heard, segments, guidance)
        return result_of(
            audio=audio,
            transcript=heard.transcript,
            voices=heard.voices,
            segments=segments,
            summary=summary,
            costs=run.costs,
            reused=run.reused,
            warnings=run.warnings,
        )

    async def _fetch(self, run: StageRun) -> str:
        """The recording in the job folder; the answer names its content for the key of what is made from it."""
        meeting, target, limit = run.claim.meeting, run.folder.source, self.limits.max_audio_bytes

        async def work(report: Report) -> None:
            if meeting.audio_path:
                await self.storage.fetch(meeting.audio_path, target, max_bytes=limit, report=report)
            elif meeting.audio_url:
                await self.web.fetch(meeting.audio_url, target, max_bytes=limit, report=report)
            else:
                raise AudioMissingError("The meeting names no recording. Set its audio_path or its audio_url.")

        await run.timed(Stage.FETCH, work)
        stat = target.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"

    async def _decode(self, run: StageRun, source: str) -> AudioMetadata:
        folder, channels = run.folder, wished_channels(run.claim.meeting)
        return await run.kept(
            Stage.DECODE,
            AudioMetadata,
            (source, channels),
            lambda report: self.stages.decode(folder.source, folder.wav, report, channels=channels),
            usage=self.stages.usage,
        )

    async def _turns(self, run: StageRun, heard: Heard) -> tuple[TranscriptSegment, ...]:
        async def work(_report: Report) -> tuple[TranscriptSegment, ...]:
            return await asyncio.to_thread(heard.turn_segments)

        return await run.timed(Stage.TURNS, work)

    async def _summarize(
        self, run: StageRun, heard: Heard, segments: tuple[TranscriptSegment, ...], guidance: str | None
    ) -> MeetingSummary | None:
        language = heard.transcript.language
        return await run.optional(
            Stage.SUMMARIZE,
            MeetingSummary,
            (language, guidance, [segment.model_dump_json() for segment in segments]),
            lambda report: self.stages.summarize(segments, language=language, report=report, guidance=guidance),
            usage=self.stages.usage,
        )


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
