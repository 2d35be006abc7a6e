"""
What is known about this worker's health, read off its events: the answers to "is it alive", "does it take meetings",
and "what is wrong, and what do I do".

Pure: time and free space come in as functions. No title, path or word of a meeting is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from worker import events
from worker.exceptions import (
    AudioDownloadError,
    DiskFailedError,
    DiskFullError,
    Disposition,
    EngineError,
    OutOfMemoryError,
    PCWorkerException,
    SupabaseStorageError,
    all_errors,
)
from worker.models import Stage, Trouble
from worker.observe import health_components
from worker.observe.health_components import DATABASE_GRACE_S, INFORMING, FailingCall, Streak
from worker.observe.health_report import Component, HealthReport, MeetingAtWork, State

ENGINE_CODES = frozenset(
    {e.code for e in all_errors() if issubclass(e, EngineError) and e.disposition is not Disposition.PERMANENT}
    | {OutOfMemoryError.code}
)
STORAGE_CODES = frozenset({SupabaseStorageError.code, AudioDownloadError.code})
DISK_CODES = frozenset({DiskFullError.code, DiskFailedError.code})

_ENGINE_STAGES = frozenset({Stage.TRANSCRIBE, Stage.DIARIZE})


@dataclass(slots=True)
class _AtWork:
    since_s: float
    stage: Stage | None = None
    progress: float | None = None


class Health:
    """
    An Observer.

    Args:
        monotonic: seconds of a clock that never goes back.
        free_bytes: room for working files; None when it cannot be told.
    """

    def __init__(self, *, monotonic: Callable[[], float], free_bytes: Callable[[], int | None] = lambda: None) -> None:
        self._now, self._free_bytes = monotonic, free_bytes
        self._is_registered = self._is_draining = self._is_stopped = False
        self._reached_at_s: float | None = None
        self._queue: events.QueueSeen | None = None
        self._completed_at_s: float | None = None
        self._failing: dict[str, FailingCall] = {}
        self._troubles: dict[str, Trouble] = {}
        self._meetings: dict[UUID, _AtWork] = {}
        self._streaks = {"storage": Streak(), "engine": Streak(), "disk": Streak()}

    # --- what it hears ---------------------------------------------------------------------------------------------

    def __call__(self, event: object) -> None:
        match event:
            case events.MeetingEvent():
                self._of_meeting(event)
            case events.TroubleBegan(trouble):
                self._troubles[trouble.code] = trouble
            case events.TroubleEnded(code):
                self._troubles.pop(code, None)
            case events.StoreUnavailable(call, _, retry_in_s, message):
                self._call_failed(call, retry_in_s, message)
            case events.StoreRecovered(call):
                self._reached(call)
            case events.QueueSeen():
                self._queue = event
                self._reached("heartbeat")
            case events.WorkerStarted():
                self._is_registered = True
                self._reached("register")
            case events.DrainStarted():
                self._is_draining = True
            case events.WorkerStopped():
                self._is_stopped = True

    def _of_meeting(self, event: events.MeetingEvent) -> None:
        match event:
            case events.MeetingClaimed(meeting_id):
                self._meetings[meeting_id] = _AtWork(self._now())
                self._reached("claim")
            case events.StageStarted(meeting_id, stage):
                self._at_stage(meeting_id, stage, None)
            case events.StageProgressed(meeting_id, stage, progress):
                self._at_stage(meeting_id, stage, progress)
            case events.StageFinished(_, stage, _, reused):
                self._stage_finished(stage, reused=reused)
            case events.MeetingCompleted(meeting_id):
                self._meetings.pop(meeting_id, None)
                self._completed_at_s = self._now()
                self._streaks["disk"].worked()
                self._reached("complete")
            case events.MeetingFailed(meeting_id, _, code, _, error):
                self._meetings.pop(meeting_id, None)
                self._meeting_failed(code, _told(code, error))
            case events.MeetingReleased(meeting_id) | events.MeetingDropped(meeting_id):
                self._meetings.pop(meeting_id, None)

    def _at_stage(self, meeting_id: UUID, stage: Stage, progress: float | None) -> None:
        if (work := self._meetings.get(meeting_id)) is not None:
            work.stage, work.progress = stage, progress

    def _stage_finished(self, stage: Stage, *, reused: bool) -> None:
        if reused:
            return
        if stage is Stage.FETCH:
            self._streaks["storage"].worked()
        elif stage in _ENGINE_STAGES:
            self._streaks["engine"].worked()

    def _meeting_failed(self, code: str, sentence: str) -> None:
        for name, codes in (("storage", STORAGE_CODES), ("engine", ENGINE_CODES), ("disk", DISK_CODES)):
            if code in codes:
                self._streaks[name].failed(code, sentence)

    def _call_failed(self, call: str, retry_in_s: float, message: str) -> None:
        """It counts as failing until it gets through, or is not repeated any more: nobody tells of a call given up."""
        now = self._now()
        known = self._failing.get(call)
        since_s = known.since_s if known is not None and now <= known.until_s else now
        self._failing[call] = FailingCall(since_s, now + 8 * retry_in_s + DATABASE_GRACE_S, message)

    def _reached(self, call: str) -> None:
        self._reached_at_s = self._now()
        self._failing.pop(call, None)

    # --- what it answers -------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Who gets this answer over HTTP knows that the event loop turns: it is the loop that answers."""
        return not self._is_stopped

    @property
    def ready(self) -> bool:
        """Whether the worker would take a meeting now, if it had room for one."""
        return not self.reasons()

    def reasons(self) -> tuple[str, ...]:
        """Why it takes none, in sentences."""
        found = []
        if self._is_stopped or self._is_draining:
            found.append(
                "The worker is stopping; it finishes or gives back what it has. Start it again if it should not."
            )
        elif not self._is_registered:
            found.append(
                "The worker is not registered with the database yet. It tries by itself; look at the database."
            )
        database = self._database()
        if database.state is State.FAILED:
            found.append(database.sentence)
        stopping = (trouble for code, trouble in sorted(self._troubles.items()) if code not in INFORMING)
        return tuple(dict.fromkeys([*found, *(trouble.sentence for trouble in stopping)]))

    def report(self) -> HealthReport:
        """Everything, for people and scripts."""
        reasons = self.reasons()
        return HealthReport(
            live=self.live,
            ready=not reasons,
            reasons=reasons,
            components=self._components(),
            meetings=tuple(self._work(meeting_id, work) for meeting_id, work in self._meetings.items()),
            troubles=tuple(trouble for _, trouble in sorted(self._troubles.items())),
        )

    def num_at_work(self) -> dict[Stage | None, int]:
        """Meetings in progress by stage; None before the first one."""
        stages = [work.stage for work in self._meetings.values()]
        return {stage: stages.count(stage) for stage in set(stages)}

    def _work(self, meeting_id: UUID, work: _AtWork) -> MeetingAtWork:
        running_s = round(self._now() - work.since_s, 1)
        return MeetingAtWork(meeting_id=meeting_id, stage=work.stage, progress=work.progress, running_s=running_s)

    def _database(self) -> Component:
        now = self._now()
        return health_components.database(
            [call for call in self._failing.values() if now <= call.until_s],
            None if self._reached_at_s is None else now - self._reached_at_s,
            has_heartbeat=self._queue is not None,
            now_s=now,
        )

    def _components(self) -> tuple[Component, ...]:
        completed_at_s = self._completed_at_s
        return (
            self._database(),
            health_components.storage(self._streaks["storage"], self._troubles),
            health_components.engine(self._streaks["engine"], self._troubles),
            health_components.disk(self._streaks["disk"], self._troubles, self._free_bytes()),
            health_components.queue(self._queue, is_old=health_components.QUEUE_OLD in self._troubles),
            health_components.last_completed(None if completed_at_s is None else self._now() - completed_at_s),
        )


def _told(code: str, error: BaseException) -> str:
    """For people. The text of an error from outside our tree may hold a path or words of the meeting."""
    if isinstance(error, PCWorkerException):
        return str(error)
    return next((known.default_message for known in all_errors() if known.code == code), "")
