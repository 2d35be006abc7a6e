"""PCs on one Supabase project: real audio through the real PostgREST and Storage as it behaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.queue_worlds import fresh_database
from tests.support.shell import Shell
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker

PATIENCE_S = 90.0


class Fleet:
    """A project with its Storage, and PCs that hold nothing but its address, the public key and a worker token."""

    def __init__(self, stack: SupabaseStack, storage: FakeStorage, folder: Path) -> None:
        self.stack, self.storage, self.folder = stack, storage, folder
        self._workers = contextlib.ExitStack()

    def enqueue_as(self, owner: UUID | None, recording: Path) -> UUID:
        """Upload, then insert the row: as a signed-in user, or as the lab's administrator."""
        meeting_id = uuid4()
        audio_path = f"{owner or 'lab'}/{meeting_id}/audio{recording.suffix}"
        self.storage.put_object(audio_path, recording)
        bearer = project_keys.user_token(owner) if owner else self.stack.service_key
        key = project_keys.PUBLISHABLE_KEY if owner else self.stack.service_key
        row = {
            "id": str(meeting_id),
            "title": recording.name,
            "audio_path": audio_path,
            "user_id": owner and str(owner),
        }
        answer = httpx.post(
            f"{self.stack.url}/rest/v1/meetings", json=row, headers={"apikey": key, "Authorization": f"Bearer {bearer}"}
        )
        assert answer.status_code == 201, answer.text
        return meeting_id

    def worker(self, name: str, *flags: str) -> WorkerProcess:
        """A PC of its own, with what an earlier worker of that name left: nothing is shared but the project."""
        environment = self._environment(self.temp(name).parent, f"{name}-{self.folder.name}")
        return self._workers.enter_context(scripted_worker(environment, "--real-audio", *flags))

    def temp(self, name: str) -> Path:
        folder = self.folder / name / "temp_audio"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _environment(self, folder: Path, worker_id: str) -> dict[str, str]:
        environment = environment_in(folder, "", worker_id) | {
            "SUPABASE_URL": self.stack.url,
            "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
            "SUPABASE_WORKER_TOKEN": self.stack.worker_token,
        }
        del environment["DATABASE_URL"]
        return environment

    def command(self, *arguments: str) -> str:
        """Typed on a PC that holds what a worker holds, and nothing for administrators."""
        done = Shell(self.folder, self._environment(self.folder, "other"))(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    async def wait_until_nothing_is_left(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.rows("select 1 from public.meetings where status in ('pending', 'processing') limit 1"):
                await asyncio.sleep(0.1)

    def close(self) -> None:
        self._workers.close()


@contextlib.contextmanager
def supabase_fleet(server_dsn: str, folder: Path) -> Iterator[Fleet]:
    """A killed PC's meetings come back within seconds instead of minutes."""
    with (
        fresh_database(server_dsn, name=f"fleet_{uuid4().hex[:12]}") as dsn,
        FakeStorage() as storage,
        supabase_stack(dsn, storage_url=storage.url) as stack,
    ):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update pc_worker.settings set lease_s = 4, heartbeat_s = 1, grace_s = 1")
        fleet = Fleet(stack, storage, folder)
        try:
            yield fleet
        finally:
            fleet.close()
