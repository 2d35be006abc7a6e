"""Which model, number format and batch size: what an engine asks before it loads anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from worker.models import EnginePlan


class Plans(Protocol):
    """What to compute with, by the recording's length, and what to try next when memory runs out."""

    def rungs(self, audio_s: float) -> Sequence[EnginePlan]:
        """The plan to begin with (the one that worked last for such a length), then ever smaller ones; at least one."""
        ...

    def worked(self, plan: EnginePlan, audio_s: float) -> None:
        """It was enough: begin with it the next time."""
        ...

    def failed(self, plan: EnginePlan, audio_s: float) -> None:
        """Memory ran out with it: begin below it the next time, even if this process dies now."""
        ...


class FixedPlan:
    """One plan for everything, and nothing below it."""

    def __init__(self, plan: EnginePlan) -> None:
        self._plan = plan

    def rungs(self, audio_s: float) -> Sequence[EnginePlan]:  # noqa: ARG002  # Plans' signature
        return (self._plan,)

    def worked(self, plan: EnginePlan, audio_s: float) -> None:
        pass

    def failed(self, plan: EnginePlan, audio_s: float) -> None:
        pass
