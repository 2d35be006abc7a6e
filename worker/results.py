"""What becomes of the stages' values: everything that is written about a meeting. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker import __version__
from worker.models import (
    AudioMetadata,
    Diarization,
    MeetingSpeaker,
    MeetingSummary,
    ProcessingResult,
    ResultWarning,
    Stage,
    StageCost,
    Transcript,
    TranscriptSegment,
)
from worker.quality import quality_of
from worker.speaking import speaking_shares


def result_of(
    *,
    audio: AudioMetadata,
    transcript: Transcript,
    voices: Diarization | None,
    segments: tuple[TranscriptSegment, ...],
    speakers: tuple[MeetingSpeaker, ...],
    speakers_version: int | None,
    summary: MeetingSummary | None,
    costs: Mapping[Stage, StageCost],
    reused: Sequence[Stage],
    warnings: Sequence[ResultWarning],
) -> ProcessingResult:
    """
    Args:
        speakers: the voices, with whom they were identified as; None for `speakers_version` where nobody tried.
        costs: by stage, in the attempt that did it.
        reused: the stages whose values an earlier attempt left here.
        warnings: of the stages that failed and could be done without; those of the values are added before them.
    """
    return ProcessingResult(
        segments=segments,
        speakers=speakers,
        speakers_version=speakers_version,
        summary=summary,
        language=transcript.language,
        duration_s=audio.duration_s,
        warnings=(*audio.warnings, *transcript.warnings, *(voices.warnings if voices else ()), *warnings)
        + (summary.warnings if summary else ())
        + (() if transcript.words else (_NO_SPEECH,)),
        result={
            "worker_version": __version__,
            **_engines(transcript, voices),
            "channels_apart": audio.channels_apart,
            "turns": [(t.label, round(t.start_s, 3), round(t.end_s, 3)) for t in voices.turns] if voices else [],
            "stage_seconds": {stage.value: cost.seconds for stage, cost in costs.items()},
            "stage_rtf": {stage.value: round(cost.seconds / audio.duration_s, 5) for stage, cost in costs.items()},
            "reused_stages": [stage.value for stage in reused],
            "peak_memory": {
                stage.value: {"rss_bytes": cost.peak_rss_bytes, "vram_bytes": cost.peak_vram_bytes}
                for stage, cost in costs.items()
                if cost.peak_rss_bytes is not None
            },
            "audio": audio.model_dump(mode="json", exclude={"warnings"}),
            "quality": quality_of(transcript, voices, segments).model_dump(mode="json"),
            "speaking": [share.model_dump(mode="json") for share in speaking_shares(segments, voices)],
        },
    )


_NO_SPEECH = ResultWarning(code="no_speech", message="No speech was found in the recording.", stage=Stage.TRANSCRIBE)


def _engines(transcript: Transcript, voices: Diarization | None) -> dict[str, Any]:
    """Who did it, with which version, on what; their hearing itself stands elsewhere."""
    heard = {"words", "warnings", "passages", "alignment", "language_vote"}
    voiced = {"turns", "exclusive", "embeddings", "warnings", "num_speakers_range"}
    return {
        "asr": transcript.model_dump(mode="json", exclude=heard),
        "alignment": transcript.alignment.model_dump(mode="json") if transcript.alignment else None,
        "diarization": voices.model_dump(mode="json", exclude=voiced) if voices else None,
    }
