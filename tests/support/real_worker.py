"""A meeting through a real worker: `python -m worker run --once` with the real engines on the tests' models."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from tests.support.spoken_meetings import REAL_ENGINES
from tests.support.worker_process import ROOT, environment_in, url_of
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingDetail, NewMeeting


async def worked_off(store: PostgresStore, dsn: str, folder: Path, recording: str) -> MeetingDetail:
    """What the database says of it afterwards. `recording`: a file below `folder`/recordings."""
    meeting_id = await store.enqueue(NewMeeting(id=uuid4(), title=recording, audio_path=recording))
    environment = environment_in(folder, url_of(dsn), f"test-{uuid4().hex[:8]}", **REAL_ENGINES)
    command = [sys.executable, "-m", "worker", "run", "--once"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = await store.meeting(meeting_id)
    assert found is not None
    return found


async def worked_off_alone(dsn: str, folder: Path, recording: str) -> MeetingDetail:
    """The same, with a store of its own."""
    store = PostgresStore(dsn, application_name="test")
    try:
        return await worked_off(store, dsn, folder, recording)
    finally:
        await store.close()
