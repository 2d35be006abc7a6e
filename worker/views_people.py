"""People and decisions on a terminal: from values to rich renderables. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from rich.table import Table
from rich.text import Text

from worker.models import Decision, Person
from worker.terminal import line
from worker.views import clock_time

ID_WIDTH = 36


def people_table(people: Iterable[Person]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "id", "meetings", "speech", "voiceprints", "last heard", ""):
        # an id that is broken over two lines cannot be copied
        table.add_column(heading, min_width=ID_WIDTH if heading == "id" else None)
    for person in people:
        table.add_row(
            line(person.name or "-", "" if person.name else "dim"),
            str(person.id),
            str(person.num_meetings),
            clock_time(person.speech_s),
            str(person.num_voiceprints),
            f"{person.last_heard_at:%Y-%m-%d}" if person.last_heard_at else "",
            Text("" if person.keeps_voice else "opted out", style="yellow"),
        )
    return table


def history(decisions: Iterable[Decision], people: Iterable[Person]) -> Table:
    """One line each; a decision that was taken back is dim and says by whom."""
    names = {person.id: person.name for person in people if person.name}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("number", "when (UTC)", "what", "by"):
        table.add_column(heading, no_wrap=heading in ("number", "when (UTC)"))
    for decision in decisions:
        undone = f" (undone by {decision.undone_by})" if decision.undone_at else ""
        table.add_row(
            str(decision.id),
            f"{decision.decided_at:%Y-%m-%d %H:%M}",
            line(in_words(decision, names) + undone),
            line(decision.decided_by),
            style="dim" if decision.undone_at else "",
        )
    return table


def in_words(decision: Decision, names: Mapping[UUID, str]) -> str:
    """What was decided, and the figures that it was decided by."""
    who, other = _who(decision.speaker_id, names), _who(decision.other_speaker_id, names)
    voice = f"{decision.label} of {decision.meeting_id}"
    sentences = {
        "identified": f"{voice} is {who}",
        "suggested": f"{voice} may be {who}",
        "unknown": f"{voice} is nobody known" + (f"; {who} comes nearest" if decision.speaker_id else ""),
        "confirmed": f"{voice} is {who}: confirmed",
        "rejected": f"{voice} is not {other}",
        "split": f"{voice} is not {other}, but a speaker of its own, {who}",
        "named": f"{_short(decision.speaker_id)} is called {decision.name}" if decision.name else f"{who} has no name",
        "merged": f"{other} is {who}",
        "forgotten": f"The voice of {who} was erased",
        "opted_out": f"{who} has opted out; the voice was erased",
        "opted_in": f"The voice of {who} may be kept again",
        "deleted": f"{who if decision.speaker_id else other} was deleted",
    }
    figures = ", ".join(_figures(decision))
    return sentences.get(decision.kind, decision.kind) + (f" ({figures})" if figures else "")


def _figures(decision: Decision) -> Iterator[str]:
    if decision.score is not None:
        yield f"score {decision.score:.2f}"
    if decision.runner_up_score is not None:
        yield f"next {decision.runner_up_score:.2f}"
    names = {"confirm_from": "sure from", "suggest_from": "suggested from", "margin": "margin"}
    for threshold, value in (decision.thresholds or {}).items():
        yield f"{names.get(threshold, threshold)} {value:.2f}"


def _who(speaker_id: UUID | None, names: Mapping[UUID, str]) -> str:
    return "nobody" if speaker_id is None else names.get(speaker_id, _short(speaker_id))


def _short(speaker_id: UUID | None) -> str:
    """Enough of an id to tell a lab's speakers apart, and to give to a command."""
    return f"speaker {str(speaker_id)[:8]}"
