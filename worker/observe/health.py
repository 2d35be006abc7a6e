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
    DiskFullError,
    Disposition,
    EngineError,
    OutOfMemoryError,
    PCWorkerException,
    SupabaseStorageError,
    all_errors,
)
from worker.models import Stage, Trouble
from worker.observe.health_report import Component, HealthReport, MeetingAtWork, State, duration_in_words

DATABASE_GRACE_S = 60.0
"""A call that fails is repeated within seconds, then at most a minute apart (worker.store_calls); one that still fails
after a minute is no hiccup."""

DATABASE_SILENCE_S = 180.0
"""The lease (Registration.lease_s): a worker that reached nobody for so long has lost its meetings."""

LOW_SPACE_BYTES = 2 * 1024**3
"""Twelve hours of 16 kHz PCM are 1.4 GB (MAX_AUDIO_HOURS), beside the recording itself."""

NUM_IN_A_ROW = 3
"""As often as one meeting may fail; from then on it is the PC rather than the recording."""

QUEUE_OLD = "queue_old"
INFORMING = frozenset({QUEUE_OLD, "key_expiring", "health_unavailable"})
"""Troubles that somebody should hear of and that keep no worker from taking meetings."""

ENGINE_CODES = frozenset(
    {e.code for e in all_errors() if issubclass(e, EngineError) and e.disposition is not Disposition.PERMANENT}
    | {OutOfMemoryError.code}
)
STORAGE_CODES = frozenset({SupabaseStorageError.code, AudioDownloadError.code})
DISK_CODES = frozenset({DiskFullError.code})

COMPONENT_OF_TROUBLE = (
    ("disk", "disk"),
    ("storage", "storage"),
    ("breaker", "engine"),
    ("engine", "engine"),
    ("model", "engine"),
    ("gpu", "engine"),
)
"""By the first word of a trouble's code; any other one shows among the troubles only."""

_ENGINE_STAGES = frozenset({Stage.TRANSCRIBE, Stage.DIARIZE})


@dataclass(slots=True)
class _Streak:
    """Failures of one kind since the last success."""

    num_failed: int = 0
    code: str = ""
    sentence: str = ""
    has_worked: bool = False

    def failed(self, code: str, sentence: str) -> None:
        self.num_failed, self.code, self.sentence = self.num_failed + 1, code, sentence

    def worked(self) -> None:
        self.num_failed, self.has_worked = 0, True


@dataclass(slots=True)
class _FailingCall:
    """A call to the database that is being repeated."""

    since: float
    until: float
    sentence: str


@dataclass(slots=True)
class _AtWork:
    since: float
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
        self._reached_at: float | None = None
        self._queue: events.QueueSeen | None = None
        self._completed_at: float | None = None
        self._failing: dict[str, _FailingCall] = {}
        self._troubles: dict[str, Trouble] = {}
        self._meetings: dict[UUID, _AtWork] = {}
        self._streaks = {"storage": _Streak(), "engine": _Streak(), "disk": _Streak()}

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
                self._completed_at = self._now()
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
        is_same = known is not None and now <= known.until
        since = known.since if known is not None and is_same else now
        self._failing[call] = _FailingCall(since, now + 8 * retry_in_s + DATABASE_GRACE_S, message)

    def _reached(self, call: str) -> None:
        self._reached_at = self._now()
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
            components=(self._database(), *self._parts(), self._queue_part(), self._completed()),
            meetings=tuple(self._work(meeting_id, work) for meeting_id, work in self._meetings.items()),
            troubles=tuple(trouble for _, trouble in sorted(self._troubles.items())),
        )

    def num_at_work(self) -> dict[Stage | None, int]:
        """Meetings in progress by stage; None before the first one."""
        stages = [work.stage for work in self._meetings.values()]
        return {stage: stages.count(stage) for stage in set(stages)}

    def _work(self, meeting_id: UUID, work: _AtWork) -> MeetingAtWork:
        running_s = round(self._now() - work.since, 1)
        return MeetingAtWork(meeting_id=meeting_id, stage=work.stage, progress=work.progress, running_s=running_s)

    def _database(self) -> Component:
        now = self._now()
        failing = [call for call in self._failing.values() if now <= call.until]
        if failing:
            worst = min(failing, key=lambda call: call.since)
            state = State.FAILED if now - worst.since >= DATABASE_GRACE_S else State.WARNING
            told = worst.sentence or "A call to the database failed. The worker repeats it; check network and database."
            return Component(name="database", state=state, sentence=told)
        if self._reached_at is None:
            return Component(name="database", state=State.WARNING, sentence="The database was not reached yet.")
        silent_s = now - self._reached_at
        sentence = f"It was reached {duration_in_words(silent_s)} ago."
        # without heartbeats that tell about the queue, silence means nothing
        if self._queue is not None and silent_s > DATABASE_SILENCE_S:
            return Component(name="database", state=State.FAILED, sentence=f"{sentence} Check network and database.")
        return Component(name="database", state=State.OK, sentence=sentence)

    def _parts(self) -> tuple[Component, ...]:
        return (
            self._part("storage", "The last recording was fetched.", "No recording was fetched yet."),
            self._part("engine", "The last recording was worked through.", "The engine was not used yet."),
            self._part("disk", *2 * (self._space(),)),
        )

    def _part(self, name: str, works: str, unused: str) -> Component:
        if (trouble := self._trouble_of(name)) is not None:
            return trouble
        streak = self._streaks[name]
        if streak.num_failed:
            state = State.FAILED if streak.num_failed >= NUM_IN_A_ROW else State.WARNING
            in_a_row = f" ({streak.num_failed} in a row)" if streak.num_failed > 1 else ""
            return Component(name=name, state=state, sentence=f"{streak.sentence} [{streak.code}]{in_a_row}")
        free_bytes = self._free_bytes() if name == "disk" else None
        state = State.WARNING if free_bytes is not None and free_bytes < LOW_SPACE_BYTES else State.OK
        return Component(name=name, state=state, sentence=works if streak.has_worked else unused)

    def _space(self) -> str:
        free_bytes = self._free_bytes()
        if free_bytes is None:
            return "How much room is left is not known."
        sentence = f"{free_bytes / 1e9:,.1f} GB are free for working files."
        return f"{sentence} Make room on the PC's disk." if free_bytes < LOW_SPACE_BYTES else sentence

    def _trouble_of(self, component: str) -> Component | None:
        for code, trouble in sorted(self._troubles.items()):
            if any(code.startswith(word) and component == name for word, name in COMPONENT_OF_TROUBLE):
                state = State.WARNING if code in INFORMING else State.FAILED
                return Component(name=component, state=state, sentence=trouble.sentence)
        return None

    def _queue_part(self) -> Component:
        if self._queue is None:
            return Component(name="queue", state=State.OK, sentence="The queue was not looked at yet.")
        num, oldest_s = self._queue.num_pending, self._queue.oldest_pending_s
        waiting = "1 meeting is pending" if num == 1 else f"{num} meetings are pending"
        if oldest_s is None:
            return Component(name="queue", state=State.OK, sentence=f"{waiting}.")
        sentence = f"{waiting}, the oldest for {duration_in_words(oldest_s)}."
        if QUEUE_OLD not in self._troubles:
            return Component(name="queue", state=State.OK, sentence=sentence)
        more = f"{sentence} Look at `python -m worker status`; start more workers, or see why they stand still."
        return Component(name="queue", state=State.WARNING, sentence=more)

    def _completed(self) -> Component:
        if self._completed_at is None:
            sentence = "No meeting was completed since the worker started."
        else:
            sentence = f"The last meeting was completed {duration_in_words(self._now() - self._completed_at)} ago."
        return Component(name="last completed meeting", state=State.OK, sentence=sentence)


def _told(code: str, error: BaseException) -> str:
    """For people. The text of an error from outside our tree may hold a path or words of the meeting."""
    if isinstance(error, PCWorkerException):
        return str(error)
    return next((known.default_message for known in all_errors() if known.code == code), "")
