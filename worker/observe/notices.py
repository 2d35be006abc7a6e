"""What a channel that people read is told, and when: each change of state once, and one line a day."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from worker import events
from worker.models import Trouble

QUIET_S = 600.0
"""A trouble that comes and goes is told at most so often; then, only what is different from what was told last."""

DAILY_AT_HOUR = 8
"""Local time: read with the first coffee."""


class _Told:
    """One code: how it is, and what was last said of it."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.told: Trouble | None = None
        self.told_at_s: float | None = None

    def due_in_s(self, now_s: float) -> float | None:
        if (self.trouble is None) == (self.told is None):
            return None
        return 0.0 if self.told_at_s is None else max(0.0, self.told_at_s + QUIET_S - now_s)


class Notices:
    """
    An Observer that keeps at most one unsaid thing per trouble, however long nobody can be told.

    Args:
        sender: which worker on which PC, for people.
        started_at: local time.
    """

    def __init__(self, sender: str, started_at: datetime) -> None:
        self._sender = sender
        self._troubles: dict[str, _Told] = {}
        self._day = Day(started_at)

    def __call__(self, event: object) -> None:
        match event:
            case events.TroubleBegan(trouble):
                self._troubles.setdefault(trouble.code, _Told()).trouble = trouble
            case events.TroubleEnded(code) if code in self._troubles:
                self._troubles[code].trouble = None
            case _:
                self._day(event)

    def take_due(self, now_s: float, now: datetime) -> list[str]:
        """
        What is to be said now; it counts as said from then on.

        Args:
            now_s: of a clock that never goes back.
            now: local time.
        """
        found = [self._say(code, told, now_s) for code, told in self._troubles.items() if told.due_in_s(now_s) == 0]
        if now >= self._day.ends_at:
            found.append(f"{self._sender}: {self._day.sentence(now)}")
            self._day = Day(now)
        return found

    def due_in_s(self, now_s: float, now: datetime) -> float:
        """How long until `take_due` has something, if no event comes before."""
        waits = [wait_s for told in self._troubles.values() if (wait_s := told.due_in_s(now_s)) is not None]
        return max(0.0, min([*waits, (self._day.ends_at - now).total_seconds()]))

    def _say(self, code: str, told: _Told, now_s: float) -> str:
        told.told, told.told_at_s = told.trouble, now_s
        if told.trouble is None:
            return f"{self._sender}: {code} is over."
        return f"{self._sender}: {code}. {told.trouble.sentence}"


class Day:
    """What was done since its beginning."""

    def __init__(self, began_at: datetime) -> None:
        self._began_at = began_at
        self._num_completed, self._audio_s = 0, 0.0
        self._num_repeated = 0
        self._failed = Counter[str]()

    @property
    def ends_at(self) -> datetime:
        """The next DAILY_AT_HOUR o'clock."""
        at = self._began_at.replace(hour=DAILY_AT_HOUR, minute=0, second=0, microsecond=0)
        return at if at > self._began_at else at + timedelta(days=1)

    def __call__(self, event: object) -> None:
        match event:
            case events.MeetingCompleted(_, _, _, audio_s):
                self._num_completed += 1
                self._audio_s += audio_s
            case events.MeetingFailed(_, "failed", code):
                self._failed[code] += 1
            case events.MeetingFailed():
                self._num_repeated += 1

    def sentence(self, now: datetime) -> str:
        hours = (now - self._began_at).total_seconds() / 3600
        causes = ", ".join(f"{code} {num}" for code, num in self._failed.most_common())
        parts = [
            f"in the last {hours:.0f} h {_counted(self._num_completed, 'meeting')} done,"
            f" {self._audio_s / 3600:.1f} h of audio",
            f"{self._failed.total()} failed" + (f" ({causes})" if causes else ""),
        ]
        if self._num_repeated:
            parts.append(f"{_counted(self._num_repeated, 'attempt')} failed and will be repeated")
        return "; ".join(parts) + "."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
