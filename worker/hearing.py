"""What the engine hears in a recording: the words with their times, and who speaks when."""

from __future__ import annotations

from dataclasses import dataclass

from worker.models import AudioMetadata, Diarization, Stage, Transcript
from worker.ports import Engine
from worker.stage_run import StageRun


@dataclass(frozen=True, slots=True)
class Heard:
    """`voices` is None where the speakers could not be told apart."""

    transcript: Transcript
    voices: Diarization | None


async def hear(run: StageRun, engine: Engine, audio: AudioMetadata, hotwords: str | None) -> Heard:
    """Transcribe, align, diarize: the stages that hold an engine."""
    meeting, wav = run.claim.meeting, run.folder.wav
    written = await run.kept(
        Stage.TRANSCRIBE,
        Transcript,
        (audio.sha256, meeting.language, meeting.prompt, hotwords),
        lambda report: engine.transcribe(
            wav, language=meeting.language, prompt=meeting.prompt, hotwords=hotwords, report=report
        ),
        usage=engine.usage,
    )
    transcript = await run.kept(
        Stage.ALIGN,
        Transcript,
        (audio.sha256, written.model_dump_json()),
        lambda report: engine.align(wav, written, report),
        usage=engine.usage,
    )
    voices = await run.optional(
        Stage.DIARIZE,
        Diarization,
        (audio.sha256, meeting.min_speakers, meeting.max_speakers),
        lambda report: engine.diarize(
            wav, min_speakers=meeting.min_speakers, max_speakers=meeting.max_speakers, report=report
        ),
        usage=engine.usage,
    )
    return Heard(transcript, voices)
