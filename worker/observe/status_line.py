"""What the worker does, in one line of words: the STATUS of `systemctl status`. No title and no path of a meeting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from worker import events
from worker.models import Stage

MEETING_ENDED = (events.MeetingCompleted, events.MeetingFailed, events.MeetingReleased, events.MeetingDropped)
"""After one of these the worker has nothing more to do with the meeting."""

STORE_SILENCE_S = 120.0
"""A call that fails is repeated after `retry_in_s`, and no call takes longer than its client's timeout (75 s): whoever
is silent for longer has got through."""

IN_WORDS = {
    Stage.WAITING_FOR_AUDIO: "waiting for the recording",
    Stage.FETCH: "fetching",
    Stage.DECODE: "decoding",
    Stage.TRANSCRIBE: "transcribing",
    Stage.ALIGN: "aligning words",
    Stage.DIARIZE: "telling speakers apart",
    Stage.TURNS: "assigning words to speakers",
    Stage.IDENTIFY: "recognising voices",
    Stage.SUMMARIZE: "summarising",
    Stage.COMMIT: "handing over the result",
}


@dataclass(slots=True)
class _AtWork:
    """`stage` is None between two stages: another meeting has the process that the next one needs."""

    stage: Stage | None = None
    progress: float | None = None

    def __str__(self) -> str:
        if self.stage is None:
            return "waiting for its turn"
        percent = "" if self.progress is None else f" {self.progress * 100:.0f} %"
        return IN_WORDS[self.stage] + percent


@dataclass(frozen=True, slots=True)
class _StoreAway:
    sentence: str
    until_s: float


class StatusLine:
    """An Observer. What keeps the worker from its work comes first, then its meetings, then the queue."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._phase = "Starting"
        self._is_draining = False
        self._troubles: dict[str, str] = {}
        self._store_away: _StoreAway | None = None
        self._meetings: dict[UUID, _AtWork] = {}
        self._num_pending: int | None = None

    @property
    def num_meetings(self) -> int:
        """In progress."""
        return len(self._meetings)

    def __call__(self, event: object) -> None:
        match event:
            case events.TroubleBegan(trouble):
                self._troubles[trouble.code] = trouble.sentence
            case events.TroubleEnded(code):
                self._troubles.pop(code, None)
            case events.StoreUnavailable(_, code, retry_in_s, message):
                sentence = f"{message or 'The database cannot be used.'} [{code}]"
                self._store_away = _StoreAway(sentence, self._monotonic() + retry_in_s + STORE_SILENCE_S)
            case events.StoreRecovered():
                self._store_away = None
            case events.QueueSeen(num_pending):
                self._num_pending = num_pending
            case events.WorkerStarted():
                self._phase, self._store_away = "Idle", None
            case events.DrainStarted():
                self._is_draining = True
            case events.WorkerStopped():
                self._phase = "Stopping"
            case _:
                self._of_meeting(event)

    def _of_meeting(self, event: object) -> None:
        match event:
            case events.MeetingClaimed(meeting_id):
                self._meetings[meeting_id] = _AtWork()
            case events.StageStarted(meeting_id, stage) if meeting_id in self._meetings:
                self._meetings[meeting_id] = _AtWork(stage)
            case events.StageProgressed(meeting_id, stage, progress) if meeting_id in self._meetings:
                self._meetings[meeting_id] = _AtWork(stage, progress)
            case events.StageFinished(meeting_id) if meeting_id in self._meetings:
                self._meetings[meeting_id] = _AtWork()
            case events.MeetingEvent(meeting_id) if isinstance(event, MEETING_ENDED):
                self._meetings.pop(meeting_id, None)

    def __str__(self) -> str:
        return " ".join([*self._wrong(), self._doing()])

    def _wrong(self) -> list[str]:
        """Sentences; the same one only once, for a trouble may be that the database is away."""
        found = dict.fromkeys(self._troubles.values())
        if self._store_away is not None and self._monotonic() < self._store_away.until_s:
            away = self._store_away.sentence
            if not any(sentence in away or away in sentence for sentence in found):
                found[away] = None
        return list(found)

    def _doing(self) -> str:
        meetings = list(map(str, self._meetings.values()))
        if self._is_draining:
            noun = "meeting" if len(meetings) == 1 else "meetings"
            return "; ".join([f"Draining: {len(meetings)} {noun}", *meetings])
        if not meetings:
            return self._phase if self._num_pending is None else f"{self._phase}; {self._num_pending} pending"
        doing = "; ".join(meetings)
        waiting = f" ({self._num_pending} waiting)" if self._num_pending else ""
        return doing[0].upper() + doing[1:] + waiting
