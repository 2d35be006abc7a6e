"""
Run the benchmarks: `python -m tests.benchmarks [--only NAME]`.

A benchmark is a module beside this one with `run()`, which returns rows `{name, ours, reference, ratio, unit}`; ours
and reference are measured in that one call, so that their ratio means something. The rows of this run are shown as a
table and written to bench.json at the root of the repository. Nothing here asserts a time. Exit code 1: one failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, cast

from rich.console import Console
from rich.table import Table

import tests.benchmarks

BENCH_JSON = Path(__file__).parents[2] / "bench.json"


class Row(TypedDict):
    name: str
    ours: float
    reference: float
    ratio: float
    unit: str


def main(arguments: list[str] | None = None) -> int:
    names = benchmark_names()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure, and write bench.json.")
    parser.add_argument("--only", metavar="NAME", choices=names, action="append", help=f"one of: {', '.join(names)}")
    chosen = parser.parse_args(arguments).only or names
    console = Console()
    rows, failed = measure(chosen, console)
    console.print(table(rows))
    write(rows, BENCH_JSON)
    for name in failed:
        console.print(f"{name} failed; its rows are missing.", style="red")
    return 1 if failed else 0


def benchmark_names() -> list[str]:
    """The modules beside this one, tools without a `run()` included: these are skipped when they are loaded."""
    return sorted(m.name for m in pkgutil.iter_modules(tests.benchmarks.__path__) if not m.name.startswith("_"))


def measure(names: list[str], console: Console) -> tuple[list[Row], list[str]]:
    """The rows of all benchmarks, and which of them failed; one that fails does not cost the others."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        try:
            run = getattr(importlib.import_module(f"tests.benchmarks.{name}"), "run", None)
            if run is None:
                console.print(f"{name}: has no run(), skipped", style="dim")
                continue
            console.print(f"{name} ...", style="dim")
            rows += cast(Callable[[], list[Row]], run)()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            failed.append(name)
    return rows, failed


def table(rows: list[Row]) -> Table:
    shown = Table("benchmark", box=None)
    for heading in ("ours", "reference", "ratio", "unit"):
        shown.add_column(heading, justify="left" if heading == "unit" else "right")
    for row in rows:
        shown.add_row(row["name"], f"{row['ours']:.4g}", f"{row['reference']:.4g}", f"{row['ratio']:.3g}", row["unit"])
    return shown


def write(rows: list[Row], path: Path) -> None:
    """As a whole or not at all."""
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
