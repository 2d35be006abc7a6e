"""How long what a killed worker held lay idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from tests.soak.census import Rows
from tests.soak.faults import Kill
from tests.soak.plan import Kind

_ATTEMPTS = """
select a.meeting_id, a.worker_id, a.outcome, extract(epoch from a.started_at)::float8,
       extract(epoch from a.ended_at)::float8
  from pc_worker.job_attempts a order by a.token
"""
_GIVEN_UP = """
select meeting_id, extract(epoch from at)::float8 from soak.notes where note = 'retried after it had failed'
"""


@dataclass(frozen=True, slots=True)
class Recovery:
    """
    One meeting that a killed worker held. `claimed_s`: until somebody worked on it again, None when its finished
    result was handed over instead; `completed_s` None when it never was (cancelled later, say).
    """

    kind: Kind
    claimed_s: float | None
    completed_s: float | None


def recoveries(rows: Rows, kills: Sequence[Kill]) -> list[Recovery]:
    """Without meetings that were given up meanwhile and retried by a user: that wait was the user's."""
    attempts: dict[object, list[tuple[str, str, float, float]]] = {}
    for meeting_id, *attempt in rows(_ATTEMPTS):
        attempts.setdefault(meeting_id, []).append(tuple(attempt))
    given_up: dict[object, list[float]] = {}
    for meeting_id, at in rows(_GIVEN_UP):
        given_up.setdefault(meeting_id, []).append(at)
    found = []
    for kill in kills:
        for meeting_id, history in attempts.items():
            recovery = _recovery(kill, history, given_up.get(meeting_id, []))
            if recovery is not None:
                found.append(recovery)
    return found


def _recovery(kill: Kill, history: list[tuple[str, str, float, float]], given_up: list[float]) -> Recovery | None:
    held = [a for a in history if a[0] == kill.worker_id and a[2] <= kill.at and (a[3] is None or a[3] > kill.at)]
    if not held or held[0][1] == "cancelled":
        return None
    claimed = next((started for _, _, started, _ in history if started > kill.at), None)
    completed = next((ended for _, outcome, _, ended in history if outcome == "completed" and ended > kill.at), None)
    if any(at > kill.at and (claimed is None or at < claimed) for at in given_up):
        return None
    if held[0][1] == "completed":
        claimed = None
    return Recovery(kill.kind, _since(kill.at, claimed), _since(kill.at, completed))


def _since(at: float, then: float | None) -> float | None:
    return None if then is None else then - at


def summary_of(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    return f"mean {mean(seconds):.1f}, median {median(seconds):.1f}, max {max(seconds):.1f} s (of {len(seconds)})"
