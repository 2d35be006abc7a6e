"""`python -m worker health`: how the worker on this PC is, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from worker.cli_shared import EXIT_FAILED, AsJson, console, print_json, refuse

if TYPE_CHECKING:
    from worker.observe.health_report import HealthReport


def health(as_json: AsJson = False) -> None:
    """Ask the worker on this PC how it is (needs HEALTH_PORT). Exit code 0: it takes meetings; 1: it does not."""
    from worker import app_health
    from worker.config import load_settings

    report, sentence = app_health.ask_health(load_settings())
    if report is None:
        if as_json:
            print_json({"live": False, "ready": False, "reasons": [sentence]})
        refuse(sentence)
        return
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_words(report)
    if not report.ready:
        raise typer.Exit(EXIT_FAILED)


def _print_words(report: HealthReport) -> None:
    from worker import views_health

    console().print(views_health.health(report))
