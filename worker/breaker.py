"""
When everything fails on this PC, it is the PC: the worker stops claiming, so that it does not burn the queue.

Closed (all is well) -> open (no claims, for a pause) -> trying (one meeting is let through) -> closed or open again.
Source of the shape: M. Nygard, "Release It!", Circuit Breaker.
"""

from __future__ import annotations

from collections import Counter, deque
from uuid import UUID

from worker import events
from worker.exceptions import BreakerOpenError, DiskFailedError, EngineError, FailureKind, PCWorkerException, all_errors
from worker.models import Trouble
from worker.ports import Clock
from worker.troubles import Troubles

CODE = BreakerOpenError.code

OPENS_AFTER = 5
"""So many failed attempts in a row."""

NUM_WITNESSES = 3
"""Of so many meetings at least: on a quiet day two bad recordings alone fail five times before both are given up. What
no recording can cause, such as a model that cannot be loaded, counts each time."""

FIRST_PAUSE_S = 600.0
LONGEST_PAUSE_S = 3600.0
"""A PC that somebody has mended should not stand idle for the rest of the day."""


def is_blamed_on_pc(code: str) -> bool:
    """
    Whether a failed attempt may be this PC's fault. A damaged recording or one that is not there yet is not; an outage
    of network, database or storage hits all PCs, and a full disk has its own gate. A model that cannot be loaded and a
    disk that fails are.
    """
    error = _error_of(code)
    if error.counts_as is FailureKind.INFRASTRUCTURE:
        return issubclass(error, EngineError | DiskFailedError)
    return _may_be_the_recording(error)


def _may_be_the_recording(error: type[PCWorkerException]) -> bool:
    return error.counts_as in (FailureKind.FAILURE, FailureKind.CRASH)


def _error_of(code: str) -> type[PCWorkerException]:
    return next((cls for cls in all_errors() if cls.code == code), PCWorkerException)


class Breaker:
    """
    An Observer that counts, and a Gate. Its trouble lasts from the moment it opens until a meeting is completed, also
    while one is tried; it is told by the breaker itself.
    """

    def __init__(self, troubles: Troubles, clock: Clock, *, opens_after: int = OPENS_AFTER) -> None:
        self._troubles, self._clock = troubles, clock
        self._codes: deque[str] = deque(maxlen=opens_after)
        self._witnesses: set[object] = set()
        self._trouble: Trouble | None = None
        self._pause_s = FIRST_PAUSE_S
        self._closed_until = 0.0
        self._is_offered = False
        self._tried: UUID | None = None

    # --- gate --------------------------------------------------------------------------------------------------

    def trouble(self) -> Trouble | None:
        """
        After the pause every other call lets a claim through, until one has brought a meeting: a claim is told a moment
        after it was made, and the next must not slip through in between.
        """
        if self._trouble is None:
            return None
        if not self._may_try:
            return self._trouble
        self._is_offered = not self._is_offered
        return None if self._is_offered else self._trouble

    @property
    def _may_try(self) -> bool:
        is_over = self._clock.monotonic() >= self._closed_until
        return self._trouble is not None and self._tried is None and is_over

    # --- observer ----------------------------------------------------------------------------------------------

    def __call__(self, event: object) -> None:
        match event:
            case events.MeetingClaimed(meeting_id) if self._may_try:
                self._tried = meeting_id
            case events.MeetingCompleted():
                self._close()
            case events.MeetingFailed(meeting_id, _, code) if is_blamed_on_pc(code):
                self._count(meeting_id, code)
            case events.MeetingFailed() | events.MeetingReleased() | events.MeetingDropped():
                self._forget_trial(event.meeting_id)

    def _count(self, meeting_id: UUID, code: str) -> None:
        self._codes.append(code)
        if self._trouble is None:
            self._witnesses.add(meeting_id if _may_be_the_recording(_error_of(code)) else object())
            if len(self._codes) == self._codes.maxlen and len(self._witnesses) >= NUM_WITNESSES:
                self._open()
        elif meeting_id == self._tried:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._open()

    def _open(self) -> None:
        self._is_offered, self._tried = False, None
        self._closed_until = self._clock.monotonic() + self._pause_s
        self._trouble = Trouble(code=CODE, sentence=_sentence(self._codes, self._pause_s))
        self._troubles.begin(self._trouble)

    def _close(self) -> None:
        self._codes.clear()
        self._witnesses.clear()
        self._trouble, self._tried, self._is_offered = None, None, False
        self._pause_s = FIRST_PAUSE_S
        self._troubles.end(CODE)

    def _forget_trial(self, meeting_id: UUID) -> None:
        """What happened to it says nothing about this PC: another one is tried."""
        if meeting_id == self._tried:
            self._tried, self._is_offered = None, False


def _sentence(codes: deque[str], pause_s: float) -> str:
    ((code, num_times),) = Counter(codes).most_common(1)
    return (
        f"The last {len(codes)} attempts on this PC failed, {num_times} of them with {code}; the worker takes no "
        f"meetings and tries one again in {pause_s / 60:.0f} min. Run `python -m worker doctor` on it and look into "
        "pc_worker_errors.log."
    )
