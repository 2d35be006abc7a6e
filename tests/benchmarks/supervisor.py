"""What the supervising process costs: its memory, and the time until `--help` answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from uuid import uuid4

from tests.support.embedded_postgres import temporary_postgres
from tests.support.worker_process import ROOT, environment_in, scripted_worker, url_of
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import NewMeeting

NUM_MEETINGS = 100
BUDGET_MB = 80.0
HELP_BUDGET_S = 0.5


def run() -> list[dict[str, object]]:
    """Rows of the benchmark table; the references are the budgets."""
    return [
        _row(f"supervisor peak memory, {NUM_MEETINGS} meetings", _peak_mb(), BUDGET_MB, "MB"),
        _row("python -m worker --help", _help_s(), HELP_BUDGET_S, "s"),
    ]


def _row(name: str, ours: float, budget: float, unit: str) -> dict[str, object]:
    return {
        "name": f"{name} (reference: budget)",
        "ours": round(ours, 3),
        "reference": budget,
        "ratio": round(ours / budget, 3),
        "unit": unit,
    }


def _peak_mb() -> float:
    """VmHWM of a worker that has worked off a queue and waits for more."""
    with tempfile.TemporaryDirectory() as name, temporary_postgres() as dsn:
        folder = Path(name)
        migrate(dsn)
        asyncio.run(_enqueue(dsn, folder))
        with scripted_worker(environment_in(folder, url_of(dsn), f"bench-{uuid4().hex[:8]}")) as worker:
            for _ in range(NUM_MEETINGS):
                worker.wait_for("MeetingCompleted")
            status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def _enqueue(dsn: str, folder: Path) -> None:
    store = PostgresStore(dsn, application_name="benchmark")
    for number in range(NUM_MEETINGS):
        path = folder / "recordings" / "lab" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({}))
        await store.enqueue(NewMeeting(title=f"meeting {number}", audio_path=f"lab/{number}.json", id=uuid4()))
    await store.close()


def _help_s() -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "worker", "--help"], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - started

    once()
    return median(once() for _ in range(7))
