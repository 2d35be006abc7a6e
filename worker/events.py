"""
What happens, as frozen events: the one seam through which logs, progress bars and metrics look at the work.

Names are past tense and are never changed; an Observer gets every event and picks what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from worker.models import Stage, Trouble


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events."""


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    worker_id: str
    num_replayed: int
    num_taken_over: int


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    worker_id: str
    num_completed: int


@dataclass(frozen=True, slots=True)
class DrainStarted(Event):
    """The worker takes no more meetings; those in progress have so long to finish."""

    num_running: int
    grace_s: float


@dataclass(frozen=True, slots=True)
class StoreUnavailable(Event):
    """A call to the database failed and will be repeated in `retry_in_s`. `message` is for people."""

    call: str
    code: str
    retry_in_s: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class StoreRecovered(Event):
    call: str


@dataclass(frozen=True, slots=True)
class KeyExpiring(Event):
    """
    A key of the project ends soon, or has ended. `variable` is its setting, `expires_on` a day (2026-12-31, UTC);
    `days_left` counts whole days: 0 on the last one, negative afterwards.
    """

    variable: str
    expires_on: str
    days_left: int


@dataclass(frozen=True, slots=True)
class TroubleBegan(Event):
    """Something keeps the worker from its work; told once, until it ends."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class TroubleEnded(Event):
    code: str


@dataclass(frozen=True, slots=True)
class QueueSeen(Event):
    """What the queue said at a heartbeat. `oldest_pending_s`: how long the oldest due meeting has waited, if any."""

    num_pending: int
    oldest_pending_s: float | None


@dataclass(frozen=True, slots=True)
class MeetingEvent(Event):
    meeting_id: UUID


@dataclass(frozen=True, slots=True)
class MeetingClaimed(MeetingEvent):
    token: int
    attempt: int


@dataclass(frozen=True, slots=True)
class StageStarted(MeetingEvent):
    stage: Stage


@dataclass(frozen=True, slots=True)
class StageProgressed(MeetingEvent):
    stage: Stage
    progress: float


@dataclass(frozen=True, slots=True)
class StageFinished(MeetingEvent):
    """`reused`: the value of an earlier attempt on this PC was still there."""

    stage: Stage
    seconds: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class StageDegraded(MeetingEvent):
    """A stage failed that the result can do without; the meeting carries a warning instead."""

    stage: Stage
    code: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class SpeakersIdentified(MeetingEvent):
    """The voices of a meeting were held against the people whom its owner knows."""

    num_identified: int
    num_suggested: int
    num_unknown: int


@dataclass(frozen=True, slots=True)
class SpeakersChanged(MeetingEvent):
    """The people changed while the meeting was worked on, and its voices were matched again; the n-th time."""

    num_rounds: int


@dataclass(frozen=True, slots=True)
class MeetingCompleted(MeetingEvent):
    """`outcome`: completed, or already_done when an earlier answer had been lost."""

    outcome: str
    seconds: float
    audio_s: float


@dataclass(frozen=True, slots=True)
class MeetingFailed(MeetingEvent):
    """One attempt ended; `outcome` says whether another follows (retrying) or not (failed)."""

    outcome: str
    code: str
    stage: Stage | None
    error: BaseException


@dataclass(frozen=True, slots=True)
class MeetingReleased(MeetingEvent):
    """Given back unfinished, because the worker stops. `outcome`: the queue's answer, or unreported."""

    outcome: str


@dataclass(frozen=True, slots=True)
class MeetingDropped(MeetingEvent):
    """Nobody waits for the work any more: `outcome` is lost, cancelled or gone."""

    outcome: str


@dataclass(frozen=True, slots=True)
class ResultReplayed(MeetingEvent):
    """A finished result that an earlier run of the worker could not hand over."""

    outcome: str


@dataclass(frozen=True, slots=True)
class FoldersSwept(Event):
    """Working files that nobody needs were removed. `reason`: gone, cancelled, completed, old or disk_full."""

    reason: str
    num_folders: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FolderNotRemoved(Event):
    """Working files are there for longer than they should; it is tried again. `name` is the folder's."""

    name: str
    error: OSError


@dataclass(frozen=True, slots=True)
class SweepFailed(Event):
    """Working files could not be looked at; it is tried again. Nothing else suffers."""

    error: BaseException
