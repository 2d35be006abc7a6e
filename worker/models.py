"""
What things are. Frozen values, in the standard terms of the field; nothing here does anything.

Glossary
    meeting      one recording that somebody wants transcribed; a row of the `meetings` table
    job          the machinery behind a meeting: lease, fencing token, attempts; never shown to people
    claim        a worker's temporary right to work on a meeting, good until its lease ends
    fencing token  a number that grows with every claim; a write counts only with the latest one
    stage        one step of the work, in the order of `Stage`
    word         a written word with start, end and confidence
    turn         a stretch of time in which one voice speaks, as the diarizer hears it
    segment      consecutive words of one speaker, as people read them
    label        a voice within one meeting: SPEAKER_00, SPEAKER_01 ...
    speaker      a person (or a voice nobody has named yet) across meetings
    embedding    a vector that describes a voice; only comparable within the same model
    DER, WER     diarization error rate, word error rate; RTF: seconds of work per second of audio

Times within a recording are seconds from its first sample (`_s`). Moments are aware UTC (`_at`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from worker.exceptions import FailureKind


class Value(BaseModel):
    """A frozen value; unknown fields are an error, so that two versions never half-understand each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MeetingStatus(StrEnum):
    """What people see: pending -> processing -> completed | failed | cancelled."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """The steps of one meeting's work. `waiting_for_audio` is shown while the row is there and its file is not."""

    WAITING_FOR_AUDIO = "waiting_for_audio"
    FETCH = "fetch"
    DECODE = "decode"
    TRANSCRIBE = "transcribe"
    ALIGN = "align"
    DIARIZE = "diarize"
    TURNS = "turns"
    IDENTIFY = "identify"
    SUMMARIZE = "summarize"
    COMMIT = "commit"


# --- the recording -----------------------------------------------------------------------------------------------


class AudioMetadata(Value):
    """What the recording is, measured while it was decoded to 16 kHz mono PCM-16."""

    sha256: str
    size_bytes: int
    container: str
    codec: str
    rate_hz: int
    num_channels: int
    duration_s: float = Field(description="length of the decoded sound, on the time line of the original")
    start_offset_s: float = Field(default=0.0, description="how late the sound begins within its container")
    loudness_dbfs: float | None = Field(default=None, description="RMS of the mono mix before normalisation")
    peak_dbfs: float | None = None
    clipped_share: float = Field(default=0.0, description="share of samples at full scale, in [0, 1]")
    gap_s: float = Field(default=0.0, description="silence put in for packets that were lost")
    num_bad_packets: int = 0
    warnings: tuple[ResultWarning, ...] = ()


class ResultWarning(Value):
    """Something a reader should know about a result that is nevertheless there."""

    code: str
    message: str
    stage: Stage | None = None


class Word(Value):
    text: str
    start_s: float
    end_s: float
    confidence: float | None = Field(default=None, description="in [0, 1], on the engine's own scale")


class Transcript(Value):
    """Words in time order, and who wrote them down. Silence gives no words; it is not an error."""

    words: tuple[Word, ...]
    language: str | None
    engine: str
    model: str
    device: str = "cpu"
    compute_type: str | None = None
    warnings: tuple[ResultWarning, ...] = ()


class SpeakerTurn(Value):
    start_s: float
    end_s: float
    label: str


class SpeakerEmbedding(Value):
    """One description of one voice: float values, shape (dim,), L2-normalised. Comparable within `model` only."""

    label: str
    model: str
    dim: int
    vector: tuple[float, ...]
    speech_s: float = Field(description="seconds of clean single-voice speech it was made from")


class Diarization(Value):
    """
    Who speaks when. Turns are sorted by start; turns of different voices may overlap.
    `exclusive` holds the same voices without overlap, for giving words to speakers.
    """

    turns: tuple[SpeakerTurn, ...]
    exclusive: tuple[SpeakerTurn, ...]
    embeddings: tuple[SpeakerEmbedding, ...]
    diarizer: str
    model: str
    device: str = "cpu"
    warnings: tuple[ResultWarning, ...] = ()


# --- what people read --------------------------------------------------------------------------------------------


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


# --- the queue ---------------------------------------------------------------------------------------------------


class NewMeeting(Value):
    """What somebody asks for by inserting a row."""

    title: str
    audio_path: str
    id: UUID | None = None
    user_id: UUID | None = None
    language: str | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    prompt: str | None = None
    hotwords: str | None = None
    priority: int = 0


class Meeting(Value):
    """A row of `meetings`, as the dashboard shows it."""

    id: UUID
    user_id: UUID | None = None
    title: str | None = None
    audio_path: str | None = None
    audio_url: str | None = None
    language: str | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    prompt: str | None = None
    hotwords: str | None = None
    priority: int = 0
    status: MeetingStatus = MeetingStatus.PENDING
    stage: str | None = None
    progress: float | None = Field(default=None, description="of the stage, in [0, 1]")
    error_code: str | None = None
    error_message: str | None = None
    warnings: tuple[ResultWarning, ...] = ()
    processed_by: str | None = None
    duration_s: float | None = None
    result: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime


class MeetingDetail(Value):
    """A meeting and everything that was written about it."""

    meeting: Meeting
    segments: tuple[TranscriptSegment, ...] = ()
    speakers: tuple[MeetingSpeaker, ...] = ()
    summary: MeetingSummary | None = None


class Claim(Value):
    """The right to work on one meeting until the lease ends; every write carries `token`."""

    meeting: Meeting
    token: int
    attempt: int = Field(description="1 for the first attempt")
    lease_s: float


class ClaimAnswer(Value):
    """`claimed`, `empty`, `draining` (this worker was told to take no more) or `unregistered` (register again)."""

    outcome: str
    claim: Claim | None = None
    num_pending: int = Field(default=0, description="pending meetings, those that wait for their time included")
    next_run_in_s: float | None = Field(default=None, description="until the next pending meeting may be claimed")


class Beat(Value):
    """One line of a heartbeat: this job is alive, and this far."""

    meeting_id: UUID
    token: int
    stage: Stage | None = None
    progress: float | None = None


class BeatAnswer(Value):
    """`ok`; or why to stop: `lost` (another worker has it), `cancelled`, `gone` (deleted)."""

    meeting_id: UUID
    token: int
    outcome: str


class HeartbeatAnswer(Value):
    jobs: tuple[BeatAnswer, ...] = ()
    draining: bool = False
    registered: bool = True


class Failure(Value):
    """Why an attempt ended without a result. `message` is for people: cause and next action."""

    kind: FailureKind
    code: str
    message: str
    stage: Stage | None = None
    retry_in_s: float = 0.0


class WriteAnswer(Value):
    """
    The answer to complete, fail, release, cancel or retry. `outcome`:

    complete  completed | already_done | lost | cancelled | gone | stale_speakers
    fail      retrying | failed | already_done | lost | cancelled | gone
    release   released | already_done | lost | cancelled | gone
    cancel    cancelled | already_done | refused | gone
    retry     pending | already_done | refused | gone
    """

    outcome: str
    message: str | None = None

    @property
    def is_lost(self) -> bool:
        """Nobody waits for this work any more."""
        return self.outcome in ("lost", "cancelled", "gone")


class SystemInfo(Value):
    """The PC under a worker. `machine_id` tells two PCs of the same name apart."""

    hostname: str
    machine_id: str
    os: str
    python: str
    cpu_count: int
    ram_bytes: int
    gpu: str | None = None


class WorkerInfo(Value):
    """Who registers. `instance_id` is new at every start, so that a restarted worker takes over its own past."""

    worker_id: str
    name: str
    instance_id: UUID
    version: str
    system: SystemInfo


class Registration(Value):
    """`registered`, `refused` (the same WORKER_ID lives on another host), or `schema` (older or newer than we need)."""

    outcome: str
    message: str | None = None
    num_taken_over: int = Field(default=0, description="jobs of this worker's earlier instance that are free again")
    lease_s: float = 180.0
    heartbeat_s: float = 30.0


class WorkerState(Value):
    worker_id: str
    name: str
    hostname: str
    version: str
    alive: bool
    draining: bool
    last_seen_s: float = Field(description="seconds since its last call")
    meetings: tuple[WorkInProgress, ...] = ()


class WorkInProgress(Value):
    meeting_id: UUID
    title: str | None
    stage: str | None
    progress: float | None
    running_s: float


class FleetStatus(Value):
    counts: dict[MeetingStatus, int]
    oldest_pending_s: float | None = None
    workers: tuple[WorkerState, ...] = ()


class KnownSpeaker(Value):
    """A person of the meeting's owner, with the voices kept of him or her."""

    id: UUID
    name: str | None
    embeddings: tuple[SpeakerEmbedding, ...] = ()


AudioMetadata.model_rebuild()
WorkerState.model_rebuild()
