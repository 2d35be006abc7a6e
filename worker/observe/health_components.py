"""What each part of the worker looks like in the report: from facts to a state and a sentence. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from worker import events
from worker.models import Trouble
from worker.observe.health_report import Component, State, duration_in_words

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

_COMPONENT_OF_TROUBLE = {
    "disk": "disk",
    "storage": "storage",
    "breaker": "engine",
    "engine": "engine",
    "model": "engine",
    "gpu": "engine",
}
"""By the first word of a trouble's code; any other one shows among the troubles only."""


@dataclass(slots=True)
class Streak:
    """Failures of one kind since the last success."""

    num_failed: int = 0
    code: str = ""
    sentence: str = ""
    has_worked: bool = False

    def failed(self, code: str, sentence: str) -> None:
        self.num_failed, self.code, self.sentence = self.num_failed + 1, code, sentence

    def worked(self) -> None:
        self.num_failed, self.has_worked = 0, True


@dataclass(frozen=True, slots=True)
class FailingCall:
    """A call to the database that is being repeated; after `until_s` it is not any more."""

    since_s: float
    until_s: float
    sentence: str


def database(
    failing: Collection[FailingCall], silent_s: float | None, *, has_heartbeat: bool, now_s: float
) -> Component:
    """
    Args:
        failing: calls that are being repeated.
        silent_s: since it was last reached; None when it never was.
        has_heartbeat: a call was heard that comes regularly, so that silence means something.
    """
    if failing:
        worst = min(failing, key=lambda call: call.since_s)
        state = State.FAILED if now_s - worst.since_s >= DATABASE_GRACE_S else State.WARNING
        told = worst.sentence or "A call to the database failed. The worker repeats it; check network and database."
        return Component(name="database", state=state, sentence=told)
    if silent_s is None:
        return Component(name="database", state=State.WARNING, sentence="The database was not reached yet.")
    sentence = f"It was reached {duration_in_words(silent_s)} ago."
    if has_heartbeat and silent_s > DATABASE_SILENCE_S:
        return Component(name="database", state=State.FAILED, sentence=f"{sentence} Check network and database.")
    return Component(name="database", state=State.OK, sentence=sentence)


def storage(streak: Streak, troubles: Mapping[str, Trouble]) -> Component:
    works = "The last recording was fetched." if streak.has_worked else "No recording was fetched yet."
    return _troubled("storage", troubles) or _failing("storage", streak) or _ok("storage", works)


def engine(streak: Streak, troubles: Mapping[str, Trouble]) -> Component:
    works = "The last recording was worked through." if streak.has_worked else "The engine was not used yet."
    return _troubled("engine", troubles) or _failing("engine", streak) or _ok("engine", works)


def disk(streak: Streak, troubles: Mapping[str, Trouble], free_bytes: int | None) -> Component:
    return _troubled("disk", troubles) or _failing("disk", streak) or _space(free_bytes)


def queue(seen: events.QueueSeen | None, *, is_old: bool) -> Component:
    if seen is None:
        return _ok("queue", "The queue was not looked at yet.")
    num, oldest_s = seen.num_pending, seen.oldest_pending_s
    waiting = "1 meeting is pending" if num == 1 else f"{num} meetings are pending"
    sentence = f"{waiting}." if oldest_s is None else f"{waiting}, the oldest for {duration_in_words(oldest_s)}."
    if not is_old:
        return _ok("queue", sentence)
    more = f"{sentence} Look at `python -m worker status`; start more workers, or see why they stand still."
    return Component(name="queue", state=State.WARNING, sentence=more)


def last_completed(ago_s: float | None) -> Component:
    if ago_s is None:
        return _ok("last completed meeting", "No meeting was completed since the worker started.")
    return _ok("last completed meeting", f"The last meeting was completed {duration_in_words(ago_s)} ago.")


def _ok(name: str, sentence: str) -> Component:
    return Component(name=name, state=State.OK, sentence=sentence)


def _troubled(name: str, troubles: Mapping[str, Trouble]) -> Component | None:
    for code, trouble in sorted(troubles.items()):
        if _COMPONENT_OF_TROUBLE.get(code.split("_", 1)[0]) == name:
            return Component(name=name, state=State.FAILED, sentence=trouble.sentence)
    return None


def _failing(name: str, streak: Streak) -> Component | None:
    if not streak.num_failed:
        return None
    state = State.FAILED if streak.num_failed >= NUM_IN_A_ROW else State.WARNING
    in_a_row = f" ({streak.num_failed} in a row)" if streak.num_failed > 1 else ""
    return Component(name=name, state=state, sentence=f"{streak.sentence} [{streak.code}]{in_a_row}")


def _space(free_bytes: int | None) -> Component:
    if free_bytes is None:
        return _ok("disk", "How much room is left is not known.")
    sentence = f"{free_bytes / 1e9:,.1f} GB are free for working files."
    if free_bytes >= LOW_SPACE_BYTES:
        return _ok("disk", sentence)
    return Component(name="disk", state=State.WARNING, sentence=f"{sentence} Make room on the PC's disk.")
