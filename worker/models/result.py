"""What people read about a meeting."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from worker.models.people import VoiceMatch
from worker.models.recording import LanguageVote, ResultWarning, SpeakerEmbedding, Value, Word


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
    decision: str | None = Field(
        default=None, description="the newest one of the ledger about this voice, such as 'confirmed'"
    )
    suggested_id: UUID | None = Field(default=None, description="who it may be; somebody has to say")
    suggested_name: str | None = None
    match: VoiceMatch | None = None
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
    language: str | None = None
    is_edited: bool = Field(default=False, description="somebody corrected it")
    num_dropped: int = Field(default=0, description="statements left out because their quotation was never said")
    warnings: tuple[ResultWarning, ...] = ()


class SpeakingShare(Value):
    """How one voice of a meeting took part, by what the diarizer hears; `label` is None where nobody was told apart."""

    label: str | None
    speech_s: float
    share: float = Field(description="of all speech, overlap counted for everybody who speaks, in [0, 1]")
    num_turns: int
    longest_turn_s: float
    num_interruptions: int = Field(
        description="turns begun while somebody else spoke, that went on after the other stopped"
    )
    num_questions: int


class DoubtfulSpan(Value):
    """A stretch whose text may be wrong, or was decoded a second time; `text` is what the transcript says."""

    start_s: float
    end_s: float
    doubts: tuple[str, ...]
    decoding: str
    text: str
    other_text: str | None = None


class SpeakerCount(Value):
    """How many voices, and how many a slightly other threshold would have found; None: the diarizer cannot say."""

    found: int
    fewest: int
    most: int
    is_doubtful: bool | None


class SegmentQuality(Value):
    """What the engines say about one segment (by index); figures of the passage that it shares most time with."""

    index: int
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    overlap_share: float | None = Field(default=None, description="part of it in which two voices speak at once")
    doubts: tuple[str, ...] = ()


class Quality(Value):
    """How far a result can be trusted. Shares are in [0, 1]; None: it cannot be known."""

    doubtful_share: float | None = Field(description="of the transcribed time, in passages that remain doubtful")
    num_decoded_again: int
    doubtful: tuple[DoubtfulSpan, ...]
    language: LanguageVote | None
    speakers: SpeakerCount | None
    overlap_share: float | None = Field(description="of the time in which anybody speaks")
    text_over_silence_share: float | None = Field(description="of the words: nobody was heard there")
    segments: tuple[SegmentQuality, ...]


class ProcessingResult(Value):
    """All that `complete` writes, in one transaction."""

    segments: tuple[TranscriptSegment, ...]
    speakers: tuple[MeetingSpeaker, ...]
    summary: MeetingSummary | None
    language: str | None
    duration_s: float
    speakers_version: int | None = Field(
        default=None, description="of the KnownSpeakers that the voices were matched against; None: against nobody"
    )
    warnings: tuple[ResultWarning, ...] = ()
    result: dict[str, Any] = Field(description="engines, models, device, seconds per stage, audio metadata, quality")
