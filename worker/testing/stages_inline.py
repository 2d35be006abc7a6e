"""The computing stages without processes: the twin of `stages_children` for tests of what stands above it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from worker.exceptions import WorkerStoppedError
from worker.models import (
    AudioMetadata,
    Diarization,
    MeetingSummary,
    SpeakerEmbedding,
    SpeakerTurn,
    Stage,
    StageUsage,
    Transcript,
    TranscriptSegment,
)
from worker.ports import Decoder, Describer, Diarizer, Report, Summarizer, Transcriber

T = TypeVar("T")


class AbandonedError(BaseException):
    """Nobody waits for this work; not an Exception, so that no engine takes it for a failure of its own."""


class InlineStages:
    """
    Implements `ports.Stages`, and `ports.Engine` with itself, over sync objects, each call in a thread.

    A thread cannot be killed: cancelled work ends at its next report. What is meant to die, hang or write garbage
    belongs into a child process.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        transcriber: Transcriber,
        diarizer: Diarizer,
        summarizer: Summarizer,
        settings: Mapping[str, str],
        describer: Describer | None = None,
    ) -> None:
        self._decoder = decoder
        self._transcriber = transcriber
        self._diarizer = diarizer
        self._summarizer = summarizer
        self._describer = describer
        self._settings = dict(settings)
        self._closed = False
        self._engine = asyncio.Lock()

    async def decode(self, source: Path, target: Path, report: Report, *, channels: str | None = None) -> AudioMetadata:
        return await self._run(partial(self._decoder.decode, source, target, channels=channels), report)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Self]:
        async with self._engine:
            yield self

    async def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        transcribe = self._transcriber.transcribe
        work = partial(transcribe, audio, language=language, prompt=prompt, hotwords=hotwords)
        return await self._run(work, report)

    async def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        return await self._run(partial(self._transcriber.align, audio, transcript), report)

    async def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        self._transcriber.rest()
        work = partial(self._diarizer.diarize, audio, min_speakers=min_speakers, max_speakers=max_speakers)
        return await self._run(work, report)

    async def describe(
        self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report
    ) -> tuple[SpeakerEmbedding, ...]:
        """Nothing where there is no describer."""
        if self._describer is None:
            return ()
        self._transcriber.rest()
        return await self._run(partial(self._describer.describe, audio, turns), report)

    async def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        summarize = self._summarizer.summarize
        work = partial(summarize, segments, language=language, names=names, guidance=guidance)
        return await self._run(work, report)

    def usage(self, stage: Stage) -> StageUsage:  # noqa: ARG002  # the port's signature
        """Nothing is measured: all happens in the caller's own process."""
        return StageUsage()

    def settings_key(self) -> dict[str, str]:
        return dict(self._settings)

    async def close(self) -> None:
        self._closed = True

    async def _run(self, work: Callable[..., T], report: Report) -> T:
        if self._closed:
            raise WorkerStoppedError
        loop = asyncio.get_running_loop()
        abandoned = False

        def report_to_loop(progress: float) -> None:
            if abandoned:
                raise AbandonedError
            loop.call_soon_threadsafe(report, progress)

        try:
            return await asyncio.to_thread(work, report=report_to_loop)
        finally:
            abandoned = True
