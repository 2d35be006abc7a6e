"""Workers, results and failures to put through the queue, and the rows as a test sees them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from worker.exceptions import FailureKind
from worker.models import (
    Failure,
    MeetingSpeaker,
    MeetingSummary,
    ProcessingResult,
    SpeakerEmbedding,
    Stage,
    SummaryItem,
    SystemInfo,
    TranscriptSegment,
    VoiceMatch,
    Word,
    WorkerInfo,
)


def worker_info(
    worker_id: str = "w1", *, host: str = "pc-1", instance_id: UUID | None = None, **system_fields: object
) -> WorkerInfo:
    known = {"os": "Linux", "python": "3.11", "cpu_count": 2, "ram_bytes": 2**33, **system_fields}
    system = SystemInfo.model_validate({"hostname": host, "machine_id": f"machine of {host}", **known})
    return WorkerInfo(
        worker_id=worker_id,
        name=f"Worker {worker_id}",
        instance_id=instance_id or uuid4(),
        version="0.1",
        system=system,
    )


def voice(label: str, *, speaker_id: UUID | None = None, vector: tuple[float, ...] = (0.6, 0.8)) -> MeetingSpeaker:
    embedding = SpeakerEmbedding(label=label, model="ge2e", dim=len(vector), vector=vector, speech_s=4.0)
    return MeetingSpeaker(label=label, speech_s=4.0, speaker_id=speaker_id, embeddings=(embedding,))


def matched(label: str, outcome: str, speaker_id: UUID | None, *, score: float = 0.875) -> MeetingSpeaker:
    """A voice as IDENTIFY hands it on."""
    match = VoiceMatch(
        outcome=outcome,
        speaker_id=speaker_id,
        score=score,
        runner_up_score=0.25,
        model="ge2e",
        confirm_from=0.75,
        suggest_from=0.5,
        margin=0.125,
    )
    heard = voice(label).model_copy(update={"match": match, "score": score})
    known_as = {"identified": "speaker_id", "suggested": "suggested_id"}.get(outcome)
    return heard.model_copy(update={known_as: speaker_id}) if known_as else heard


def segment(index: int, text: str, label: str | None = "SPEAKER_00") -> TranscriptSegment:
    words = (Word(text=text, start_s=float(index), end_s=index + 0.5, confidence=0.75),)
    return TranscriptSegment(
        index=index,
        start_s=float(index),
        end_s=index + 0.5,
        speaker_label=label,
        text=text,
        confidence=0.75,
        words=words,
    )


def result(*texts: str, voices: tuple[MeetingSpeaker, ...] | None = None) -> ProcessingResult:
    """A result with one segment per text, of which the text is the mark by which a test knows it again."""
    return ProcessingResult(
        segments=tuple(segment(index, text) for index, text in enumerate(texts)),
        speakers=(voice("SPEAKER_00"), voice("SPEAKER_01", vector=(1.0, 0.0))) if voices is None else voices,
        summary=MeetingSummary(
            overview=" ".join(texts),
            key_points=(SummaryItem(text="the point", segments=(0,), start_s=0.0),),
            method="extractive",
        ),
        language="en",
        duration_s=12.5,
        result={"engine": "scripted"},
    )


def failure(
    kind: FailureKind = FailureKind.FAILURE, *, code: str = "engine_failed", retry_in_s: float = 0.0
) -> Failure:
    return Failure(kind=kind, code=code, message="It failed. Try again.", stage=Stage.TRANSCRIBE, retry_in_s=retry_in_s)


# --- what a test sees of the rows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobSeen:
    state: str
    token: int | None
    num_attempts: int
    num_failures: int
    num_crashes: int
    has_lease: bool


@dataclass(frozen=True)
class AttemptSeen:
    token: int
    attempt: int
    worker_id: str
    outcome: str | None
    code: str | None
    stage: str | None


@dataclass(frozen=True)
class SpeakerSeen:
    id: UUID
    name: str | None
    user_id: UUID | None
    meeting_ids: tuple[UUID, ...]
    embedding: tuple[float, ...] | None
    num_embeddings: int
    keeps_voice: bool = True
