"""A worker's health on a terminal: from values to rich renderables. Prints nothing itself."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.observe.health_report import HealthReport, MeetingAtWork, duration_in_words
from worker.views import CHECK_COLOURS


def health(report: HealthReport) -> RenderableType:
    """In one line whether it takes meetings, then why not, each component, and what it is working on."""
    heading = Text("ready", style="green") if report.ready else Text("not ready", style="red")
    parts: list[RenderableType] = [heading, *(Text(reason) for reason in report.reasons), _components(report)]
    parts += [Text(_work(meeting)) for meeting in report.meetings]
    return Group(*parts)


def _components(report: HealthReport) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for part in report.components:
        table.add_row(part.name, Text(part.state, style=CHECK_COLOURS[part.state]), Text(part.sentence))
    named = {part.sentence for part in report.components} | set(report.reasons)
    for trouble in report.troubles:
        if trouble.sentence not in named:
            table.add_row(trouble.code, Text("warning", style=CHECK_COLOURS["warning"]), Text(trouble.sentence))
    return table


def _work(meeting: MeetingAtWork) -> str:
    stage = meeting.stage.value if meeting.stage else "just taken"
    progress = f" {meeting.progress:.0%}" if meeting.progress is not None else ""
    return f"working on {meeting.meeting_id}: {stage}{progress}, for {duration_in_words(meeting.running_s)}"
