"""What the engine hears in a recording: the words with their times, and who speaks when."""

from __future__ import annotations

from dataclasses import dataclass

from worker.channels import DIARIZER, channel_segments
from worker.hearing_channels import hear_channels
from worker.models import AudioMetadata, Diarization, Stage, Transcript, TranscriptSegment
from worker.ports import Engine
from worker.stage_run import StageRun
from worker.turns import assign_speakers


@dataclass(frozen=True, slots=True)
class Heard:
    """`voices` is None where the speakers could not be told apart."""

    transcript: Transcript
    voices: Diarization | None

    def turn_segments(self) -> tuple[TranscriptSegment, ...]:
        """Each word under its speaker: whose voice it is, or whose channel."""
        if self.voices is not None and self.voices.diarizer == DIARIZER:
            return channel_segments(self.transcript.words)
        return assign_speakers(self.transcript.words, self.voices)


async def hear(run: StageRun, engine: Engine, audio: AudioMetadata, hotwords: str | None) -> Heard:
    """Transcribe, align, diarize: the stages that hold an engine."""
    if audio.channels_apart:
        return Heard(*await hear_channels(run, engine, audio, hotwords))
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
