"""Meetings as rows, and what worker and queue say to each other."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from worker.exceptions import FailureKind
from worker.models.people import KnownSpeakers
from worker.models.recording import ResultWarning, Stage, Value
from worker.models.result import MeetingSpeaker, MeetingSummary, TranscriptSegment


class MeetingStatus(StrEnum):
    """What people see: pending -> processing -> completed | failed | cancelled."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NewMeeting(Value):
    """What somebody asks for by inserting a row. The recording is at `audio_path` in the storage, or at `audio_url`."""

    title: str
    audio_path: str | None = None
    audio_url: str | None = None
    id: UUID | None = None
    user_id: UUID | None = None
    language: str | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    prompt: str | None = None
    hotwords: str | None = None
    channels: str | None = Field(default=None, description="'separate', 'mixed', or None: as it sounds")
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
    channels: str | None = None
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
    anew_from: dict[Stage, int] = Field(
        default_factory=dict, description="from this stage on, only values that were made for this number count"
    )


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
    num_pending: int = Field(default=0, description="pending meetings, those that wait for their time included")
    oldest_pending_s: float | None = Field(default=None, description="how long the oldest due meeting has waited")


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

    or to what people decide about speakers and summaries: done | already_done | refused | gone.
    """

    outcome: str
    message: str | None = None
    known: KnownSpeakers | None = Field(default=None, description="with stale_speakers: whom to match against now")
    decision_id: int | None = Field(default=None, description="of the ledger, to undo it by")
    speaker_id: UUID | None = Field(default=None, description="whom a voice is now, where that was decided")

    @property
    def is_lost(self) -> bool:
        """Nobody waits for this work any more."""
        return self.outcome in ("lost", "cancelled", "gone")


class Trouble(Value):
    """Something that keeps a worker from its work until it ends; `sentence` says to people what, and what to do."""

    code: str
    sentence: str


class GpuFacts(Value):
    """One GPU. The UUID is its name for good: NVML and CUDA may number the same GPUs differently."""

    name: str
    uuid: str
    driver: str
    vram_bytes: int


class SystemInfo(Value):
    """The PC under a worker. `machine_id` tells two PCs of the same name apart; the GPU is the one it works on."""

    hostname: str
    machine_id: str
    os: str
    python: str
    cpu_count: int
    ram_bytes: int
    gpu: str | None = None
    gpu_uuid: str | None = None
    driver: str | None = None
    vram_bytes: int | None = None


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
    gpu: str | None = None
    driver: str | None = Field(default=None, description="version of the GPU's driver")
    troubles: tuple[Trouble, ...] = Field(default=(), description="what it said at its last call, the oldest first")
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


WorkerState.model_rebuild()
