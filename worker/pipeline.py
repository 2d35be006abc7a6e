"""
The stages of one meeting, in order, in one function. This is the only place that states the order.

    claim -> fetch -> decode -> transcribe -> align -> diarize -> turns -> identify -> summarize -> commit
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from worker import events
from worker.channels import wished_channels
from worker.deadline import ended_after
from worker.exceptions import AudioMissingError
from worker.hearing import Heard, hear
from worker.hotwords import with_vocabulary
from worker.job_folder import JobFolder
from worker.models import (
    AudioMetadata,
    Claim,
    KnownSpeakers,
    MeetingSpeaker,
    MeetingSummary,
    ProcessingResult,
    Stage,
    TranscriptSegment,
)
from worker.ports import Clock, Fetcher, Observer, Report, Stages, Storage
from worker.results import result_of
from worker.stage_run import StageRun
from worker.turns import meeting_speakers
from worker.voiceprints import comparable_models, identify, names_of


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds on one meeting. The deadline counts from the moment that it has an engine; decoding and the summary, which
    take a small part of that, have one each of their own.
    """

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


async def nobody_known(_claim: Claim, _models: Sequence[str]) -> KnownSpeakers | None:
    """Of a pipeline that has no queue behind it."""
    return None


@dataclass(frozen=True, slots=True)
class Identified:
    """The voices of a meeting, and among whom they were looked for; `known` is None where nobody looked."""

    speakers: tuple[MeetingSpeaker, ...]
    known: KnownSpeakers | None = None

    @property
    def names(self) -> dict[str, str]:
        return names_of(self.speakers, self.known)

    @property
    def version(self) -> int | None:
        return self.known.version if self.known else None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """
    The ports that the stages need; the same for every meeting.

    Attributes:
        identify_speakers: False: no voice is compared, and what voices sound like stays in the engine.
        vocabulary: names and terms that may occur in a meeting, besides its own hotwords.
        guidance: what its owner wants of a summary.
        asks_guidance: False: nobody reads it, so nobody asks for it.
        known_speakers: whom its owner knows, described by one of these models.
    """

    storage: Storage
    web: Fetcher
    stages: Stages
    observe: Observer
    clock: Clock
    limits: Limits
    identify_speakers: bool = True
    asks_guidance: bool = False
    vocabulary: Callable[[Claim], Awaitable[tuple[str, ...]]] = no_vocabulary
    guidance: Callable[[Claim], Awaitable[str | None]] = no_guidance
    known_speakers: Callable[[Claim, Sequence[str]], Awaitable[KnownSpeakers | None]] = nobody_known

    async def process(self, claim: Claim, folder: JobFolder) -> ProcessingResult:
        """
        From a claim to everything that is written about the meeting; nothing is written to the database here.

        Raises whatever ended the attempt; the values of finished stages stay in the folder for the next one.
        """
        settings_key = self.stages.settings_key()
        run = StageRun(claim, folder, self.observe, self.clock, settings_key, keeps_voices=self.identify_speakers)

        # before the long stages, while the database that gave the claim is there, and the engine is not held for it
        hotwords = with_vocabulary(claim.meeting.hotwords, await self.vocabulary(claim))
        guidance = await self.guidance(claim) if self.asks_guidance else None
        source = await self._fetch(run)
        audio = await self._decode(run, source)
        deadline_s = self.limits.deadline_for(audio.duration_s)
        async with self.stages.engine() as engine:
            with run.deadline(deadline_s):
                heard = await hear(run, engine, audio, hotwords)
        segments = await self._turns(run, heard)
        identified = await self._identify(run, meeting_speakers(segments, heard.voices))
        summary = await self._summarize(run, heard, segments, identified.names, guidance, deadline_s)
        return result_of(
            audio=audio,
            transcript=heard.transcript,
            voices=heard.voices,
            segments=segments,
            speakers=identified.speakers,
            speakers_version=identified.version,
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

        async def work(report: Report) -> AudioMetadata:
            return await self.stages.decode(folder.source, folder.wav, report, channels=channels)

        return await run.kept(
            Stage.DECODE,
            AudioMetadata,
            (source, channels),
            lambda report: ended_after(self.limits.deadline_s, work, report),
            usage=self.stages.usage,
        )

    async def _turns(self, run: StageRun, heard: Heard) -> tuple[TranscriptSegment, ...]:
        async def work(_report: Report) -> tuple[TranscriptSegment, ...]:
            return await asyncio.to_thread(heard.turn_segments)

        return await run.timed(Stage.TURNS, work)

    async def _identify(self, run: StageRun, voices: tuple[MeetingSpeaker, ...]) -> Identified:
        """No failure of the comparison costs the transcript; a database that is away is waited for."""
        if not self.identify_speakers:
            return Identified(voices)

        async def work(_report: Report) -> Identified:
            models = comparable_models(voices)
            known = await self.known_speakers(run.claim, models) if models else None
            return Identified(await asyncio.to_thread(identify, voices, known), known)

        identified = await run.timed(Stage.IDENTIFY, work)
        outcomes = Counter(voice.match.outcome for voice in identified.speakers if voice.match)
        self.observe(
            events.SpeakersIdentified(
                run.meeting_id, outcomes["identified"], outcomes["suggested"], outcomes["unknown"]
            )
        )
        return identified

    async def _summarize(
        self,
        run: StageRun,
        heard: Heard,
        segments: tuple[TranscriptSegment, ...],
        names: dict[str, str],
        guidance: str | None,
        deadline_s: float,
    ) -> MeetingSummary | None:
        language = heard.transcript.language

        async def work(report: Report) -> MeetingSummary:
            return await self.stages.summarize(
                segments, language=language, report=report, names=names, guidance=guidance
            )

        return await run.optional(
            Stage.SUMMARIZE,
            MeetingSummary,
            (language, names, guidance, [segment.model_dump_json() for segment in segments]),
            lambda report: ended_after(deadline_s, work, report),
            usage=self.stages.usage,
        )
