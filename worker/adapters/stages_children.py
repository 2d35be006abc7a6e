"""
The computing stages in child processes: one that prepares, one per GPU (or a few on the CPU) with the models, and one
that waits for a language model where summaries are written by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from worker.adapters.child_process import ChildProcess
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
from worker.ports import Report, unheard

T = TypeVar("T")

STALL_S: Mapping[Stage, float] = {
    Stage.DECODE: 120.0,
    Stage.TRANSCRIBE: 600.0,
    Stage.ALIGN: 600.0,
    Stage.DIARIZE: 900.0,
    Stage.SUMMARIZE: 300.0,
}
"""
How long a stage may be silent. Generous: the price of waiting is minutes of one PC, that of a wrong kill is a meeting's
attempt. Diarization has the longest steps between two reports (one clustering of all its voices).
"""


@dataclass(frozen=True, slots=True)
class EngineChild:
    """Implements `ports.Engine` over one child."""

    child: ChildProcess
    stall_s: Mapping[Stage, float]
    usages: dict[Stage, StageUsage] = field(default_factory=dict)

    def usage(self, stage: Stage) -> StageUsage:
        """What a stage of this meeting took at its most; nothing is known of one that has not ended well here."""
        return self.usages.get(stage, StageUsage())

    async def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        arguments = {"audio": audio, "language": language, "prompt": prompt, "hotwords": hotwords}
        return await self._compute(Stage.TRANSCRIBE, "transcriber.transcribe", arguments, Transcript, report)

    async def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        arguments = {"audio": audio, "transcript": transcript}
        return await self._compute(Stage.ALIGN, "transcriber.align", arguments, Transcript, report)

    async def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        await self._rest()
        arguments = {"audio": audio, "min_speakers": min_speakers, "max_speakers": max_speakers}
        return await self._compute(Stage.DIARIZE, "diarizer.diarize", arguments, Diarization, report)

    async def describe(
        self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report
    ) -> tuple[SpeakerEmbedding, ...]:
        await self._rest()
        arguments = {"audio": audio, "turns": turns}
        returns = tuple[SpeakerEmbedding, ...]
        return await self._compute(Stage.DIARIZE, "describer.describe", arguments, returns, report)

    async def _rest(self) -> None:
        await self.child.call("transcriber.rest", {}, type(None), unheard, stall_s=self.stall_s[Stage.DIARIZE])

    async def _compute(
        self, stage: Stage, object_method: str, arguments: Mapping[str, Any], returns: type[T], report: Report
    ) -> T:
        value = await self.child.call(object_method, arguments, returns, report, stall_s=self.stall_s[stage])
        self.usages[stage] = self.child.usage
        return value


class ChildStages:
    """
    Implements `ports.Stages`.

    Args:
        prep: has the objects "decoder" and "summarizer".
        engines: each has "transcriber", "diarizer" and "describer", and holds its models; an engine works for one
            meeting at a time.
        summary: has the "summarizer" instead of prep, where it waits for somebody else's answers.
        settings: for `settings_key`.
        stall_s: silence allowed per stage, where it differs from STALL_S.
    """

    def __init__(
        self,
        *,
        prep: ChildProcess,
        engines: Sequence[ChildProcess],
        settings: Mapping[str, str],
        summary: ChildProcess | None = None,
        stall_s: Mapping[Stage, float] | None = None,
    ) -> None:
        if not engines:
            raise ValueError("at least one engine child is needed")
        self._prep = prep
        self._summary = summary or prep
        self._engines = tuple(engines)
        self._settings = dict(settings)
        self._usages: dict[Stage, StageUsage] = {}
        self._stall_s = {**STALL_S, **(stall_s or {})}
        # Waiters are served in order; the engine used last is taken first, so that a quiet PC warms up only one.
        self._free: asyncio.LifoQueue[ChildProcess] = asyncio.LifoQueue()
        for engine in reversed(self._engines):
            self._free.put_nowait(engine)

    async def decode(self, source: Path, target: Path, report: Report, *, channels: str | None = None) -> AudioMetadata:
        arguments = {"source": source, "target": target, "channels": channels}
        return await self._compute(self._prep, Stage.DECODE, "decoder.decode", arguments, AudioMetadata, report)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[EngineChild]:
        child = await self._free.get()
        try:
            yield EngineChild(child, self._stall_s)
        finally:
            self._free.put_nowait(child)

    async def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        arguments = {"segments": segments, "language": language, "names": names, "guidance": guidance}
        return await self._compute(
            self._summary, Stage.SUMMARIZE, "summarizer.summarize", arguments, MeetingSummary, report
        )

    async def call(self, object_method: str, arguments: Mapping[str, Any], returns: type[T], report: Report) -> T:
        """A method of any other object: in the prep child if it has that object, else in the next free engine."""
        if object_method.partition(".")[0] in self._prep.objects:
            return await self._prep.call(object_method, arguments, returns, report)
        async with self.engine() as engine:
            return await engine.child.call(object_method, arguments, returns, report)

    def pids(self) -> set[int]:
        """Of the engine processes that are there now."""
        return {child.pid for child in self._engines if child.pid is not None}

    def usage(self, stage: Stage) -> StageUsage:
        return self._usages.get(stage, StageUsage())

    def settings_key(self) -> dict[str, str]:
        return dict(self._settings)

    async def close(self) -> None:
        await asyncio.gather(*(child.close() for child in {self._prep, self._summary, *self._engines}))

    async def _compute(
        self,
        child: ChildProcess,
        stage: Stage,
        object_method: str,
        arguments: Mapping[str, Any],
        returns: type[T],
        report: Report,
    ) -> T:
        value = await child.call(object_method, arguments, returns, report, stall_s=self._stall_s[stage])
        self._usages[stage] = child.usage
        return value
