"""Keeps a worker inside one of its calls to the database: the test holds a lock that the call needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

PATIENCE_S = 60.0

PEOPLE = "lock table public.speaker_embeddings in access exclusive mode"
"""What `identify` reads."""

MEETINGS = "select 1 from public.meetings for no key update"
"""What `complete`, `fail` and `release` write. A heartbeat does not wait for it; and nobody can claim one meanwhile."""

WORKERS = "select 1 from pc_worker.workers for no key update"
"""What `register` writes."""

_WAITING_FOR_US = "select pid from pg_stat_activity where %s = any (pg_blocking_pids(pid)) and query like %s"


class HeldLock:
    """A transaction of the test's own, which others wait for; `watcher` looks at it from outside."""

    def __init__(self, holder: psycopg.AsyncConnection, watcher: psycopg.AsyncConnection) -> None:
        self._holder, self._watcher = holder, watcher

    async def wait_for(self, function: str) -> int:
        """Until a call of that function waits for us. Returns the process id of its connection's server."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            pid = self._holder.info.backend_pid
            cursor = await self._watcher.execute(_WAITING_FOR_US, [pid, f"%{function}%"])
            if row := await cursor.fetchone():
                return int(row[0])
            assert time.monotonic() < deadline, f"no call of {function} came"
            await asyncio.sleep(0.01)

    async def end_the_call(self, server_pid: int) -> None:
        """As a database does that goes down: what the call has written is undone."""
        await self._watcher.execute("select pg_terminate_backend(%s, 10000)", [server_pid])

    async def release(self) -> None:
        await self._holder.rollback()


@asynccontextmanager
async def held(dsn: str, statement: str) -> AsyncIterator[HeldLock]:
    """Let go at the end at the latest."""
    async with (
        await psycopg.AsyncConnection.connect(dsn) as holder,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
    ):
        await holder.execute(statement.encode())
        lock = HeldLock(holder, watcher)
        try:
            yield lock
        finally:
            await lock.release()
