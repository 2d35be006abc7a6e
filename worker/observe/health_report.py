"""The answer to "how is this worker", as values: what /health sends and `python -m worker health` reads."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from worker.models import Stage, Trouble, Value


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Component(Value):
    """One part of the worker. `sentence` is for people: what is so and, unless ok, the next action."""

    name: str
    state: State
    sentence: str


class MeetingAtWork(Value):
    meeting_id: UUID
    stage: Stage | None
    progress: float | None
    running_s: float


class HealthReport(Value):
    """`ready`: it takes meetings; `reasons`: why not, in sentences."""

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    meetings: tuple[MeetingAtWork, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def duration_in_words(seconds: float) -> str:
    """In the largest unit that fits: 40 s, 12 min, 3 h, 2 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
