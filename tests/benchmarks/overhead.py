"""
What a meeting of one hour costs outside all stages: a whole worker with the real engines and the tests' small models.

The reference is the meeting's wall time, from its claim to its commit; ours is what no stage accounts for, and the
budget is 1 % of it.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import soundfile

from tests.support.embedded_postgres import temporary_postgres
from tests.support.spoken_meetings import RATE_HZ, REAL_ENGINES, meetings
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker, url_of
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import NewMeeting

HOUR_S = 3600
PATIENCE_S = 1800.0


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name, temporary_postgres() as dsn:
        folder = Path(name)
        migrate(dsn)
        asyncio.run(_enqueue(dsn, folder))
        environment = environment_in(
            folder,
            url_of(dsn),
            f"bench-{uuid4().hex[:8]}",
            **REAL_ENGINES,
        )
        with scripted_worker(environment, "--once", "--real-engines") as worker:
            whole_s, stages_s = _seconds(worker)
    rows = [_row(f"{stage} of 1 h, small models, with loading", seconds) for stage, seconds in stages_s.items()]
    outside_s = whole_s - sum(stages_s.values())
    return [
        {
            "name": "meeting of 1 h, outside all stages (reference: its wall time)",
            "ours": round(outside_s, 3),
            "reference": round(whole_s, 1),
            "ratio": round(outside_s / whole_s, 5),
            "unit": "s",
        },
        *rows,
    ]


def _row(name: str, seconds: float) -> dict[str, Any]:
    return {
        "name": f"{name} (reference: real time)",
        "ours": round(seconds, 1),
        "reference": float(HOUR_S),
        "ratio": round(seconds / HOUR_S, 5),
        "unit": "s",
    }


def _seconds(worker: WorkerProcess) -> tuple[float, dict[str, float]]:
    """Of the whole meeting, and of each of its stages, by the worker's own events."""
    completed = worker.wait_for("MeetingCompleted", patience_s=PATIENCE_S)
    stages = {told["stage"]: float(told["seconds"]) for told in worker.seen if told["event"] == "StageFinished"}
    return float(completed["seconds"]), stages


async def _enqueue(dsn: str, folder: Path) -> None:
    path = folder / "recordings" / "lab" / "hour.flac"
    path.parent.mkdir(parents=True)
    sound = np.concatenate([meeting.samples for meeting in meetings()])
    soundfile.write(path, np.resize(sound, HOUR_S * RATE_HZ), RATE_HZ)
    store = PostgresStore(dsn, application_name="benchmark")
    await store.enqueue(NewMeeting(title="an hour", audio_path="lab/hour.flac"))
    await store.close()
