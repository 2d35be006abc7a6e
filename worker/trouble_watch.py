"""Troubles that are read off the events: a queue that ages, a database that stays away, a key that ends."""

from __future__ import annotations

from dataclasses import dataclass

from worker import events
from worker.models import Trouble
from worker.ports import Clock
from worker.troubles import Troubles

QUEUE_OLD = "queue_old"
KEY_EXPIRING = "key_expiring"
KEY_EXPIRED = "key_expired"

YOUNG_AGAIN = 0.8
"""Of the limit: with one meeting after the other just above and just below it, nobody wants to be told each time."""

AWAY_AFTER_S = 180.0
"""A lease: until then an outage costs nothing (design: a network cut shorter than the lease)."""

QUIET_S = 120.0
"""A call that is repeated in vain is repeated more often than this; see StoreCalls and PCWorker._idle_s."""


class QueueAge:
    """Begins when the oldest due meeting has waited for longer than `limit_s`."""

    def __init__(self, troubles: Troubles, *, limit_s: float) -> None:
        self._troubles, self._limit_s = troubles, limit_s

    def __call__(self, event: object) -> None:
        if not isinstance(event, events.QueueSeen):
            return
        oldest_s = event.oldest_pending_s or 0.0
        if oldest_s > self._limit_s:
            self._troubles.begin(Trouble(code=QUEUE_OLD, sentence=_old_queue(oldest_s, event.num_pending)))
        elif oldest_s <= self._limit_s * YOUNG_AGAIN:
            self._troubles.end(QUEUE_OLD)


@dataclass(slots=True)
class _Failing:
    since_s: float
    last_s: float


class StoreAway:
    """
    Begins when a call to the database has failed for longer than `after_s`, with the code and the sentence of that
    error: unreachable, a refused key or a migration that is missing ask for different actions.
    """

    def __init__(self, troubles: Troubles, clock: Clock, *, after_s: float = AWAY_AFTER_S) -> None:
        self._troubles, self._clock, self._after_s = troubles, clock, after_s
        self._failing: dict[str, _Failing] = {}
        self._code: str | None = None

    def __call__(self, event: object) -> None:
        match event:
            case events.StoreUnavailable(call, code, _, message):
                self._failed(call, code, message)
            case events.StoreRecovered(call):
                self._answered(call)
            case events.MeetingClaimed():
                self._answered("claim")
            case events.QueueSeen():
                self._answered("heartbeat")

    def _failed(self, call: str, code: str, message: str) -> None:
        now = self._clock.monotonic()
        failing = self._failing.setdefault(call, _Failing(now, now))
        failing.last_s = now
        if now - failing.since_s < self._after_s:
            return
        if self._code not in (None, code):
            self._troubles.end(self._code or "")
        self._code = code
        self._troubles.begin(Trouble(code=code, sentence=message or f"The database does not answer ({code})."))

    def _answered(self, call: str) -> None:
        """Not every call says when it gets through again: what is no longer tried in vain has."""
        now = self._clock.monotonic()
        self._failing = {
            name: failing for name, failing in self._failing.items() if name != call and now - failing.last_s <= QUIET_S
        }
        if not self._failing and self._code is not None:
            self._troubles.end(self._code)
            self._code = None


class KeysEnd:
    """Passes on what worker.key_expiry tells once a day. Only a new key ends it, and a restart reads that."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._ending: dict[str, events.KeyExpiring] = {}

    def __call__(self, event: object) -> None:
        if not isinstance(event, events.KeyExpiring):
            return
        self._ending[event.variable] = event
        gone = [key for key in self._ending.values() if key.days_left < 0]
        near = [key for key in self._ending.values() if key.days_left >= 0]
        self._tell(KEY_EXPIRED, "has ended", gone)
        self._tell(KEY_EXPIRING, "ends", near)

    def _tell(self, code: str, verb: str, keys: list[events.KeyExpiring]) -> None:
        if not keys:
            self._troubles.end(code)
            return
        which = ", ".join(f"{key.variable} {verb} on {key.expires_on}" for key in keys)
        action = "Put a new one into .env (for a token: `python -m worker token`) and restart the worker."
        self._troubles.begin(Trouble(code=code, sentence=f"{which}. {action}"))


def _old_queue(oldest_s: float, num_pending: int) -> str:
    return (
        f"A meeting has been waiting for {oldest_s / 3600:.1f} h, and {num_pending} are pending. "
        "See with `python -m worker status` whether enough workers are alive."
    )
