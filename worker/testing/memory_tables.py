"""The rows behind MemoryStore: what the SQL tables of worker/sql hold, as plain objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple
from uuid import UUID

from worker.exceptions import SupabaseQueryError
from worker.models import (
    Decision,
    Meeting,
    MeetingSummary,
    SpeakerEmbedding,
    Stage,
    SystemInfo,
    TranscriptSegment,
    Trouble,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Second zero of a test's clock."""


def moment(at_s: float) -> datetime:
    return EPOCH + timedelta(seconds=at_s)


def rounded_progress(progress: float | None) -> float | None:
    """Two places, halves away from zero, as `round(numeric)` does."""
    if progress is None:
        return None
    exact = Decimal(str(min(max(progress, 0.0), 1.0)))
    return float(exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))


def tidied_channels(written: str | None) -> str | None:
    """As pc_worker.channels_before_write. Raises SupabaseQueryError."""
    channels = (written or "").strip(" ").lower()
    if channels not in ("separate", "mixed", ""):
        raise SupabaseQueryError(
            "The channels of a meeting are separate, mixed, or left empty: then the worker hears which they are."
        )
    return channels or None


@dataclass(frozen=True)
class QueueLimits:
    """The row of pc_worker.settings."""

    lease_s: float = 180.0
    heartbeat_s: float = 30.0
    grace_s: float = 60.0
    max_failures: int = 3
    max_crashes: int = 2
    infrastructure_give_up_s: float = 86400.0
    waiting_give_up_s: float = 3600.0


@dataclass
class Job:
    id: int
    meeting_id: UUID
    priority: int
    run_at: float
    state: str = "pending"
    token: int | None = None
    lease_expires_at: float | None = None
    worker_id: str | None = None
    instance_id: UUID | None = None
    claim_id: UUID | None = None
    num_attempts: int = 0
    num_failures: int = 0
    num_crashes: int = 0
    num_infrastructure: int = 0
    infrastructure_since: float | None = None
    waiting_since: float | None = None
    anew_from: dict[Stage, int] = field(default_factory=dict)


@dataclass
class Attempt:
    token: int
    meeting_id: UUID
    attempt: int
    worker_id: str
    instance_id: UUID
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    code: str | None = None
    stage: str | None = None


@dataclass
class Worker:
    worker_id: str
    name: str
    version: str
    system: SystemInfo
    instance_id: UUID
    last_seen_at: float
    past_instances: list[UUID] = field(default_factory=list)
    draining: bool = False
    troubles: tuple[Trouble, ...] = ()

    @property
    def host(self) -> tuple[str, str]:
        return (self.system.hostname, self.system.machine_id)


@dataclass
class Segment:
    value: TranscriptSegment
    is_edited: bool = False


class PastSummary(NamedTuple):
    version: int
    overview: str
    replaced_by: str


@dataclass
class MeetingRow:
    value: Meeting
    segments: list[Segment] = field(default_factory=list)
    summary: MeetingSummary | None = None
    summary_version: int = 0
    past_summaries: list[PastSummary] = field(default_factory=list)

    @property
    def is_summary_edited(self) -> bool:
        return self.summary is not None and self.summary.is_edited

    def _next_version(self) -> int:
        return 1 + max(self.summary_version, *(past.version for past in self.past_summaries), 0)

    def _keep_summary(self, by: str) -> None:
        """Whoever keeps a version first says who replaced it."""
        kept = {past.version for past in self.past_summaries}
        if self.summary is not None and self.summary_version not in kept:
            self.past_summaries.append(PastSummary(self.summary_version, self.summary.overview, by))

    def edit_summary(self, corrected: MeetingSummary, by: str) -> None:
        self._keep_summary(by)
        self.summary_version = self._next_version()
        self.summary = corrected.model_copy(update={"is_edited": True})

    def release_summary(self, by: str) -> None:
        """A corrected one, kept as a version, may be replaced from now on."""
        if self.summary is not None and self.summary.is_edited:
            self._keep_summary(by)
            self.summary = self.summary.model_copy(update={"is_edited": False})

    def replace_summary(self, summary: MeetingSummary | None, by: str) -> None:
        self._keep_summary(by)
        self.summary = None
        if summary is not None:
            self.summary_version = self._next_version()
            self.summary = summary.model_copy(update={"warnings": ()})

    def set(self, **columns: object) -> None:
        self.value = self.value.model_copy(update=columns)


@dataclass
class VoiceRow:
    """One label of one result of a meeting: what was heard, never who it is."""

    id: int
    meeting_id: UUID
    label: str
    home: UUID
    speech_s: float
    score: float | None = None
    embeddings: tuple[SpeakerEmbedding, ...] = ()
    is_current: bool = True
    is_erased: bool = False

    def erase(self) -> None:
        self.is_erased, self.embeddings = True, ()


@dataclass
class DecisionRow:
    """A row of the ledger. `places`: the voice belongs to the decision's speaker from then on."""

    value: Decision
    voice_id: int | None = None
    places: bool = False

    @property
    def is_active(self) -> bool:
        return self.value.undone_at is None


@dataclass(frozen=True)
class SpeakerRow:
    """What `public.speakers` shows of one speaker, all of it derived."""

    id: UUID
    user_id: UUID | None
    name: str | None
    keeps_voice: bool
    meeting_ids: tuple[UUID, ...]
    embeddings: tuple[SpeakerEmbedding, ...]

    @property
    def centroid(self) -> tuple[float, ...] | None:
        """What `speakers.embedding` holds: the mean, weighted by speech, in the model with most speech."""
        speech_s: dict[str, float] = {}
        for embedding in self.embeddings:
            speech_s[embedding.model] = speech_s.get(embedding.model, 0.0) + embedding.speech_s
        if not speech_s:
            return None
        best = min(speech_s, key=lambda model: (-speech_s[model], model))
        weighted = [
            [value * max(embedding.speech_s, 0.001) for value in embedding.vector]
            for embedding in self.embeddings
            if embedding.model == best
        ]
        sums = [sum(column) for column in zip(*weighted, strict=True)]
        length = math.hypot(*sums)
        return tuple(round(value / length, 6) for value in sums) if length else None
