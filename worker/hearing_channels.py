"""Hearing a recording whose two channels are one person's each: each by itself, and no diarizer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from worker import events
from worker.channels import DIARIZER, labels_of, merged, told_apart
from worker.exceptions import PCWorkerException
from worker.models import (
    AudioMetadata,
    Diarization,
    ResultWarning,
    SpeakerEmbedding,
    Stage,
    StageCost,
    Transcript,
)
from worker.ports import Engine, Report, channel_paths
from worker.stage_run import StageRun

NOT_DESCRIBED = ResultWarning(
    code="voices_not_described",
    message="Nobody could be recognised by voice; the transcript is complete. Retry the meeting to try again.",
    stage=Stage.DIARIZE,
)


@dataclass(frozen=True, slots=True)
class ChannelWork:
    """
    What one stage does to one channel.

    Attributes:
        channel: from 0.
        depends_on: what a kept value must have been made from.
        share: of the stage's progress, where it begins and ends.
    """

    channel: int
    depends_on: tuple[object, ...]
    work: Callable[[Report], Awaitable[Transcript]]
    share: tuple[float, float]


async def hear_channels(
    run: StageRun, engine: Engine, audio: AudioMetadata, hotwords: str | None
) -> tuple[Transcript, Diarization]:
    """
    Transcribe and align both, the one with more speech first: it is the better one to find the language by, which is
    then the other one's as well.
    """
    main = _main_of(audio)
    written = await _transcribed(run, engine, audio, hotwords, main)
    aligned = await _aligned(run, engine, audio, written, main)
    transcript = merged(aligned, main)
    voices = await run.kept(
        Stage.DIARIZE,
        Diarization,
        (audio.sha256, DIARIZER, transcript.model_dump_json()),
        lambda report: _voices(run, engine, transcript, report),
        usage=engine.usage,
    )
    return transcript, voices


async def _transcribed(
    run: StageRun, engine: Engine, audio: AudioMetadata, hotwords: str | None, main: int
) -> list[Transcript]:
    meeting, paths = run.claim.meeting, channel_paths(run.folder.wav)

    def of(channel: int, before: Sequence[Transcript]) -> ChannelWork:
        language = meeting.language or (before[0].language if before else None)
        return ChannelWork(
            channel,
            (audio.sha256, meeting.channels, channel, language, meeting.prompt, hotwords),
            lambda report: engine.transcribe(
                paths[channel], language=language, prompt=meeting.prompt, hotwords=hotwords, report=report
            ),
            _shares(audio, channel, main),
        )

    return await _both(run, engine, Stage.TRANSCRIBE, of, main)


async def _aligned(
    run: StageRun, engine: Engine, audio: AudioMetadata, written: Sequence[Transcript], main: int
) -> list[Transcript]:
    paths = channel_paths(run.folder.wav)

    def of(channel: int, _before: Sequence[Transcript]) -> ChannelWork:
        return ChannelWork(
            channel,
            (audio.sha256, channel, written[channel].model_dump_json()),
            lambda report: engine.align(paths[channel], written[channel], report),
            _shares(audio, channel, main),
        )

    return await _both(run, engine, Stage.ALIGN, of, main)


async def _voices(run: StageRun, engine: Engine, transcript: Transcript, report: Report) -> Diarization:
    """A voice that cannot be described costs no more than that nobody is recognised by it."""
    voices = await asyncio.to_thread(told_apart, transcript.words)
    if not run.keeps_voices:
        return voices
    try:
        return voices.model_copy(update={"embeddings": await _described(run, engine, transcript, voices, report)})
    except PCWorkerException as error:
        if not run.may_degrade(error):
            raise
        run.observe(events.StageDegraded(run.meeting_id, Stage.DIARIZE, error.code, error))
        return voices.model_copy(update={"warnings": (NOT_DESCRIBED,)})


async def _described(
    run: StageRun, engine: Engine, transcript: Transcript, voices: Diarization, report: Report
) -> tuple[SpeakerEmbedding, ...]:
    """Each voice by its own channel, where it is alone also while the other one speaks."""
    paths, labels = channel_paths(run.folder.wav), labels_of(transcript.words)
    embeddings: list[SpeakerEmbedding] = []
    for number, (channel, label) in enumerate(labels.items()):
        turns = tuple(turn for turn in voices.turns if turn.label == label)
        share = (number / len(labels), (number + 1) / len(labels))
        embeddings += await engine.describe(paths[channel], turns, _within(report, share))
    return tuple(embeddings)


async def _both(
    run: StageRun,
    engine: Engine,
    stage: Stage,
    of: Callable[[int, Sequence[Transcript]], ChannelWork],
    main: int,
) -> list[Transcript]:
    """One stage over both channels, `main` first; what an earlier attempt left of either is used. By channel."""
    order, done, costs = (main, 1 - main), list[Transcript](), list[StageCost]()
    for channel in order:
        name, key = _place(run, stage, of(channel, done))
        kept = await asyncio.to_thread(run.folder.load, name, key, Transcript)
        if kept is None:
            break
        done.append(kept[0])
        costs.append(kept[1])

    async def work(report: Report) -> None:
        for channel in order[len(done) :]:
            task = of(channel, done)
            value, cost = await _worked(run, engine, stage, task, report)
            name, key = _place(run, stage, task)
            await asyncio.to_thread(run.folder.save, name, key, value, cost)
            done.append(value)
            costs.append(cost)

    if len(done) == len(order):
        run.observe(events.StageFinished(run.meeting_id, stage, 0.0, reused=True))
        run.reused.append(stage)
    else:
        await run.timed(stage, work)
    run.costs[stage] = _total(costs)
    return done if main == 0 else done[::-1]


async def _worked(
    run: StageRun, engine: Engine, stage: Stage, task: ChannelWork, report: Report
) -> tuple[Transcript, StageCost]:
    started = run.clock.monotonic()
    value = await task.work(_within(report, task.share))
    seconds = round(run.clock.monotonic() - started, 3)
    return value, StageCost(seconds=seconds, **engine.usage(stage).model_dump())


def _place(run: StageRun, stage: Stage, task: ChannelWork) -> tuple[str, str]:
    """The name under which the job folder keeps the value, and its key."""
    return f"{stage}-{task.channel + 1}", run.key(stage, *task.depends_on)


def _within(report: Report, share: tuple[float, float]) -> Report:
    """Tells of a part of the stage, which begins and ends there."""
    begin, end = share
    return lambda progress: report(begin + (end - begin) * progress)


def _main_of(audio: AudioMetadata) -> int:
    first_s, second_s = audio.channel_speech_s or (0.0, 0.0)
    return int(second_s > first_s)


def _shares(audio: AudioMetadata, channel: int, main: int) -> tuple[float, float]:
    """The time that a channel takes goes by how much is said on it."""
    said_s = sum(audio.channel_speech_s)
    first = audio.channel_speech_s[main] / said_s if said_s else 0.5
    return (0.0, first) if channel == main else (first, 1.0)


def _total(costs: Sequence[StageCost]) -> StageCost:
    """Seconds of both, and the most memory that either took."""

    def most(values: Sequence[int | None]) -> int | None:
        return max((value for value in values if value is not None), default=None)

    return StageCost(
        seconds=round(sum(cost.seconds for cost in costs), 3),
        peak_rss_bytes=most([cost.peak_rss_bytes for cost in costs]),
        peak_vram_bytes=most([cost.peak_vram_bytes for cost in costs]),
    )
