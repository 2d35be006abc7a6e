"""A stage's progress, put together from its steps'."""

from __future__ import annotations

from worker.ports import Report


def part(report: Report, start: float, end: float) -> Report:
    """For a step that is only a part of the stage, from `start` to `end` of it, in [0, 1]."""
    return lambda done: report(start + (end - start) * done)


def only_forward(report: Report) -> Report:
    """A second try begins at zero again; who watches sees it stand still until it has caught up."""
    furthest = 0.0

    def forward(done: float) -> None:
        nonlocal furthest
        furthest = max(furthest, done)
        report(furthest)

    return forward
