"""The figures of a run: as Markdown for people, as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.soak.night import Report
from tests.soak.plan import Kind
from tests.soak.recovery import summary_of
from tests.soak.watch import growth_of


@dataclass(frozen=True, slots=True)
class Row:
    """`faults`: sentences about what must not be; None where nothing is judged."""

    name: str
    value: str
    faults: list[str] | None = None


def rows_of(report: Report) -> list[Row]:
    census, told = report.census, report.told
    return [
        Row("meetings inserted", str(census.num_inserted)),
        Row("completed", str(census.num_completed)),
        Row("cancelled, deleted by users", f"{census.num_cancelled}, {census.num_deleted}"),
        _judged("lost", census.lost),
        _judged("duplicated, or with words of another meeting", census.duplicated),
        _judged("partial", census.partial),
        _judged("there although a user cancelled or deleted it", census.unwanted),
        _judged(
            f"invariants broken, of {report.num_looks} looks and at the end",
            [*report.broken.elements(), *census.broken],
        ),
        Row("completed with a warning: an engine was killed twice in a stage that may fail", str(len(census.degraded))),
        Row("given up as poison (two crashes) and retried by a user", str(report.num_poisoned)),
        Row("attempts", ", ".join(f"{count} {outcome}" for outcome, count in sorted(census.attempts.items()))),
        Row("completed although the lease had run out (salvaged)", str(census.num_salvaged)),
        Row(
            "finished results handed over by the next start (replayed)",
            str(told["ResultReplayed", "completed"] + told["ResultReplayed", "already_done"]),
        ),
        Row("stale holders that learned it and dropped their work", str(told["MeetingDropped", "lost"])),
        *_recovery_rows(report),
        Row("faults", _counted(report.faults.items())),
        Row("worker processes", str(report.num_processes)),
        _judged("workers that ended by themselves or did not stop, errors in the database", report.complaints),
        _judged("leaked files", report.leaks.files),
        _judged("leaked processes", report.leaks.processes),
        _judged("leaked connections", report.leaks.connections),
        *_growth_rows(report),
        Row("seconds, and of these after the last fault", f"{report.took_s:.0f}, {report.drain_s:.0f}"),
    ]


def _judged(name: str, faults: list[str]) -> Row:
    return Row(name, str(len(faults)), faults)


def _counted(items: Iterable[tuple[Kind, int]]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(items))


def _recovery_rows(report: Report) -> list[Row]:
    found = report.recoveries
    at_once = [r.claimed_s for r in found if r.kind is Kind.KILL and r.claimed_s is not None]
    others = [r.claimed_s for r in found if r.kind is not Kind.KILL and r.claimed_s is not None]
    completed = [r.completed_s for r in found if r.completed_s is not None]
    return [
        Row("SIGKILL until claimed again: the worker started again at once", summary_of(at_once)),
        Row("SIGKILL until claimed again: it did not, lease and grace 8 s", summary_of(others)),
        Row("SIGKILL until completed", summary_of(completed)),
    ]


def _growth_rows(report: Report) -> list[Row]:
    growth = growth_of(report.readings)
    thirds = report.database_bytes[-max(1, len(report.database_bytes) // 3) :]
    text = (
        f"{growth.rss_mb[0]} to {growth.rss_mb[1]} MB, {growth.num_fds[0]:.0f} to {growth.num_fds[1]:.0f} descriptors, "
        f"{growth.num_threads[0]:.0f} to {growth.num_threads[1]:.0f} threads"
    )
    name = f"growth of the worker that lived {growth.lived_s:.0f} s (medians, second to last third)"
    return [
        Row(name, text, [text] if growth.is_growing else []),
        Row("Postgres, last third of the run", f"at most {max(thirds, default=0) / 2**20:.0f} MB"),
    ]


def faults_in(report: Report) -> list[str]:
    """One sentence for each thing that must not be; empty for a good night."""
    return [f"{row.name}: {fault}" for row in rows_of(report) for fault in row.faults or ()]


def markdown(report: Report) -> str:
    lines = ["| what | figure |", "|---|---|", *(f"| {row.name} | {row.value} |" for row in rows_of(report))]
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    return {
        "seed": report.numbers.seed,
        "minutes": report.numbers.minutes,
        "workers": report.numbers.num_pcs,
        "rows": {row.name: row.value for row in rows_of(report)},
        "faults_found": faults_in(report),
        "recoveries": [[r.kind.name, r.claimed_s, r.completed_s] for r in report.recoveries],
    }
