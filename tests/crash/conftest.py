"""A database per test, and workers on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.embedded_postgres import temporary_postgres
from tests.support.mortal_postgres import MortalPostgres, mortal_postgres
from tests.support.queue_invariants import BROKEN
from tests.support.queue_worlds import fresh_database
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker, url_of
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingDetail, MeetingStatus, NewMeeting


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a name that no other test has: workers are called after it, and each holds its WORKER_ID on the whole host."""
    return tmp_path_factory.mktemp(uuid4().hex[:12], numbered=False)


@pytest.fixture(scope="session")
def crash_server_dsn() -> Iterator[str]:
    with temporary_postgres() as dsn:
        yield dsn


class Lab:
    """One database, one folder of recordings, and worker processes on them."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        self.store = PostgresStore(dsn, application_name="crash test")
        self._workers = contextlib.ExitStack()

    async def enqueue(self, title: str = "meeting", **scripts: Mapping[str, Any]) -> UUID:
        """A recording that tells the scripted engines what to do, by stage."""
        meeting_id = uuid4()
        path = self.folder / "recordings" / "lab" / str(meeting_id) / "audio.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(scripts))
        return await self.store.enqueue(
            NewMeeting(id=meeting_id, title=title, audio_path=f"lab/{meeting_id}/audio.json")
        )

    async def enqueue_recording(self, audio: Path, title: str = "meeting") -> UUID:
        """A real recording, for workers with real engines (`--real-engines`)."""
        meeting_id = uuid4()
        path = self.folder / "recordings" / "lab" / str(meeting_id) / audio.name
        path.parent.mkdir(parents=True)
        shutil.copyfile(audio, path)
        audio_path = f"lab/{meeting_id}/{audio.name}"
        return await self.store.enqueue(NewMeeting(id=meeting_id, title=title, audio_path=audio_path))

    def worker(
        self, worker_id: str, *, once: bool = False, flags: Sequence[str] = (), **variables: str
    ) -> WorkerProcess:
        """Worker ids are made unique on this host, because a worker holds its name on the whole host."""
        environment = environment_in(self.folder, url_of(self.dsn), f"{worker_id}-{self.folder.name}", **variables)
        return self._workers.enter_context(scripted_worker(environment, *(["--once"] if once else []), *flags))

    async def found(self, meeting_id: UUID) -> MeetingDetail:
        detail = await self.store.meeting(meeting_id)
        assert detail is not None
        return detail

    async def status(self, meeting_id: UUID) -> MeetingStatus:
        return (await self.found(meeting_id)).meeting.status

    def attempts(self, meeting_id: UUID) -> list[tuple[str, str | None]]:
        """(worker, outcome) of each attempt, oldest first."""
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "select worker_id, outcome from pc_worker.job_attempts where meeting_id = %s order by token",
                [meeting_id],
            ).fetchall()
        return [(worker_id.split("-")[0], outcome) for worker_id, outcome in rows]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement.encode())

    @property
    def leftovers(self) -> list[str]:
        """What is still in the temp folder."""
        folder = self.folder / "temp_audio"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    async def assert_done_once(self, meeting_id: UUID, *, num_segments: int = 2) -> None:
        """Completed by one attempt, each row there once, no attempt left open, no file left behind."""
        found = await self.found(meeting_id)
        assert found.meeting.status is MeetingStatus.COMPLETED, (found.meeting.error_code, self.attempts(meeting_id))
        outcomes = [outcome for _, outcome in self.attempts(meeting_id)]
        assert (outcomes.count("completed"), outcomes.count(None)) == (1, 0), outcomes
        assert [segment.index for segment in found.segments] == list(range(num_segments))
        assert found.summary is not None
        self.assert_sound()
        assert self.leftovers == []

    def assert_sound(self) -> None:
        """No row of any meeting contradicts another (tests/support/queue_invariants.py)."""
        assert self.rows(BROKEN) == []

    async def close(self) -> None:
        await asyncio.to_thread(self._workers.close)
        await self.store.close()


@pytest.fixture
async def lab(crash_server_dsn: str, tmp_path: Path) -> AsyncIterator[Lab]:
    with fresh_database(crash_server_dsn, name=f"lab_{uuid4().hex[:12]}") as dsn:
        await asyncio.to_thread(migrate, dsn)
        lab = Lab(dsn, tmp_path)
        try:
            yield lab
        finally:
            await lab.close()


@pytest.fixture(scope="session")
def mortal_server() -> Iterator[MortalPostgres]:
    """A server that may be killed; between two tests it runs."""
    with mortal_postgres() as server:
        yield server


@pytest.fixture
async def mortal_lab(mortal_server: MortalPostgres, tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab whose server is `mortal_server`."""
    dsn = mortal_server.new_database()
    await asyncio.to_thread(migrate, dsn)
    lab = Lab(dsn, tmp_path)
    try:
        yield lab
    finally:
        await lab.close()
        mortal_server.start()
