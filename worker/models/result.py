"""What people read about a meeting."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from worker.models.recording import ResultWarning, SpeakerEmbedding, Value, Word


class TranscriptSegment(Value):
    index: int
    start_s: float
    end_s: float
    speaker_label: str | None
    text: str
    confidence: float | None
    words: tuple[Word, ...]


class MeetingSpeaker(Value):
    """One voice of one meeting; `speaker_id` once it is known as a person's."""

    label: str
    speech_s: float
    speaker_id: UUID | None = None
    name: str | None = None
    score: float | None = None
    decision: str | None = None
    embeddings: tuple[SpeakerEmbedding, ...] = ()


class SummaryItem(Value):
    """A statement and the segments (by index) that it rests on."""

    text: str
    segments: tuple[int, ...] = ()
    start_s: float | None = None
    owner: str | None = None
    due: str | None = None


class MeetingSummary(Value):
    overview: str
    key_points: tuple[SummaryItem, ...] = ()
    decisions: tuple[SummaryItem, ...] = ()
    action_items: tuple[SummaryItem, ...] = ()
    open_questions: tuple[SummaryItem, ...] = ()
    topics: tuple[SummaryItem, ...] = ()
    method: str = Field(description="'extractive' (sentences of the transcript) or 'llm'")
    model: str | None = None


class ProcessingResult(Value):
    """All that `complete` writes, in one transaction."""

    segments: tuple[TranscriptSegment, ...]
    speakers: tuple[MeetingSpeaker, ...]
    summary: MeetingSummary | None
    language: str | None
    duration_s: float
    warnings: tuple[ResultWarning, ...] = ()
    result: dict[str, Any] = Field(description="engines, models, device, seconds per stage, audio metadata, quality")
