"""Models on a terminal: from values to rich renderables. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from worker.app_models import Checked, ModelHere, ModelState

COLOURS = {ModelState.COMPLETE: "green", ModelState.INCOMPLETE: "yellow", ModelState.MISSING: "red"}


def inventory(models: Iterable[ModelHere]) -> Table:
    """What is needed first; what is not, is only taking room."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "kind", "state", "needed", "size", "licence", "revision"):
        table.add_column(heading, no_wrap=heading in ("model", "state"))
    for model in models:
        colour = COLOURS[model.state] if model.is_needed or model.state is not ModelState.MISSING else ""
        table.add_row(
            Text(model.name),
            model.kind,
            Text(model.state, style=colour),
            "yes" if model.is_needed else "",
            size(model.size_bytes),
            Text(model.licence),
            (model.revision or "")[:8],
        )
    return table


def checks(found: Iterable[Checked]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for model in found:
        if model.problems is None:
            state, sentence = Text("unknown", style="yellow"), "Its checksums were never written down; pull it once."
        elif model.problems:
            state = Text("failed", style="red")
            sentence = f"{', '.join(model.problems)}. Run `python -m worker models pull {model.name}`."
        else:
            state, sentence = Text("ok", style="green"), "Every file is as it was published."
        table.add_row(state, Text(model.name), Text(sentence))
    return table


def size(num_bytes: int) -> str:
    """0 -> -, 2 000 000 -> 2 MB, 3.1e9 -> 3.1 GB"""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB" if num_bytes else "-"
