"""
A PC without a GPU: eight meetings with one engine process and with two, through a whole worker, PocketSphinx as engine.

Each worker runs `--once` on a queue of its own; the seconds are those from its first claim to its last completed
meeting, so that starting up is not in it. The reference is one process, in the same run.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.embedded_postgres import temporary_postgres
from tests.support.speech_sample import sample_folder
from tests.support.worker_process import ROOT, environment_in, url_of
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import NewMeeting

NUM_MEETINGS = 8


def run() -> list[dict[str, Any]]:
    one_s, two_s = _seconds(1), _seconds(2)
    return [
        {
            "name": f"{NUM_MEETINGS} meetings with two engine processes on two cores",
            "ours": round(NUM_MEETINGS * 3600 / two_s, 1),
            "reference": round(NUM_MEETINGS * 3600 / one_s, 1),
            "ratio": round(one_s / two_s, 2),
            "unit": "meetings per hour (reference: one process)",
        }
    ]


def _seconds(num_processes: int) -> float:
    with tempfile.TemporaryDirectory() as name, temporary_postgres() as dsn:
        folder = Path(name)
        migrate(dsn)
        asyncio.run(_enqueue(dsn, folder))
        environment = environment_in(
            folder,
            url_of(dsn),
            f"bench-{uuid4().hex[:8]}",
            ENGINE_PROCESSES=str(num_processes),
            MAX_CONCURRENT_JOBS=str(num_processes + 1),
        )
        subprocess.run(
            [sys.executable, "-m", "worker", "run", "--once"],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "select extract(epoch from max(ended_at) - min(started_at)), count(*) from pc_worker.job_attempts"
                " where outcome = 'completed'"
            ).fetchone()
    assert row is not None
    assert row[1] == NUM_MEETINGS
    return float(row[0])


async def _enqueue(dsn: str, folder: Path) -> None:
    store = PostgresStore(dsn, application_name="benchmark")
    for number in range(NUM_MEETINGS):
        meeting_id = uuid4()
        path = folder / "recordings" / "lab" / f"{meeting_id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample_folder() / "sample.wav", path)
        await store.enqueue(NewMeeting(id=meeting_id, title=f"{number}", audio_path=f"lab/{meeting_id}.wav"))
    await store.close()
