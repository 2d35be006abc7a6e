"""Workers whose way to the database, or to their whole Supabase project, leads through a FaultProxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.crash.conftest import Lab
from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.fault_proxy import FaultProxy, socket_of, through
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import WorkerProcess, url_of
from worker.adapters.migrate_postgres import migrate
from worker.models import NewMeeting


class LineLab(Lab):
    """Workers on Postgres; the test itself has a line of its own."""

    transport = "postgres"

    def __init__(self, dsn: str, folder: Path, proxy: FaultProxy) -> None:
        super().__init__(dsn, folder)
        self.proxy = proxy

    def worker(
        self, worker_id: str, *, once: bool = False, flags: Sequence[str] = (), **variables: str
    ) -> WorkerProcess:
        way = {"DATABASE_URL": url_of(through(self.proxy, self.dsn))}
        return super().worker(worker_id, once=once, flags=flags, **way | variables)

    def beside(self, worker_id: str) -> WorkerProcess:
        """A worker whose line is its own and sound, in a folder of its own."""
        variables = self._sound() | {"AUDIO_TEMP_DIR": str(self.folder / worker_id)}
        return self.worker(worker_id, once=False, flags=(), **variables)

    def _sound(self) -> dict[str, str]:
        return {"DATABASE_URL": url_of(self.dsn)}

    def hurry(self, *, lease_s: float) -> None:
        """Leases of so long, with a heartbeat five times in one."""
        self.execute(
            f"update pc_worker.settings set lease_s = {lease_s}, heartbeat_s = {lease_s / 5}, grace_s = {lease_s / 5}"
        )

    async def until(self, query: str) -> None:
        """The query gives a row."""
        async with asyncio.timeout(60):
            while not self.rows(query):
                await asyncio.sleep(0.02)


class ProjectLab(LineLab):
    """Workers on a Supabase project, with the public key and a worker token."""

    transport = "supabase"

    def __init__(self, stack: SupabaseStack, storage: FakeStorage, folder: Path, proxy: FaultProxy) -> None:
        super().__init__(stack.dsn, folder, proxy)
        self.stack, self.storage = stack, storage

    async def enqueue(self, title: str = "meeting", **scripts: Mapping[str, Any]) -> UUID:
        meeting_id = uuid4()
        audio_path = f"lab/{meeting_id}/audio.json"
        self.storage.put_object(audio_path, json.dumps(scripts).encode())
        return await self.store.enqueue(NewMeeting(id=meeting_id, title=title, audio_path=audio_path))

    def worker(
        self, worker_id: str, *, once: bool = False, flags: Sequence[str] = (), **variables: str
    ) -> WorkerProcess:
        access = {
            "DATABASE_URL": "",
            "SUPABASE_URL": self.proxy.url,
            "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
            "SUPABASE_WORKER_TOKEN": self.stack.worker_token,
        }
        return super().worker(worker_id, once=once, flags=flags, **access | variables)

    def _sound(self) -> dict[str, str]:
        return {"SUPABASE_URL": self.stack.url}


@contextlib.asynccontextmanager
async def line_lab(transport: str, server_dsn: str, folder: Path) -> AsyncIterator[LineLab]:
    """A database of its own, migrated; `transport`: postgres or supabase."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, name=f"line_{uuid4().hex[:12]}"))
        if transport == "postgres":
            await asyncio.to_thread(migrate, dsn)
            lab = LineLab(dsn, folder, stack.enter_context(FaultProxy(socket_of(dsn))))
        else:
            storage = stack.enter_context(FakeStorage())
            project = stack.enter_context(supabase_stack(dsn, storage_url=storage.url))
            proxy = stack.enter_context(FaultProxy(project.gateway.url))
            lab = ProjectLab(project, storage, folder, proxy)
        try:
            yield lab
        finally:
            await lab.close()
