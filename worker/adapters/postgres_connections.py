"""
A handful of psycopg connections that notice when the other end is gone.

Not psycopg_pool: its background workers and waiting rooms serve hundreds of clients; a worker has at most a few calls
at once, must not keep a dead connection, and must never wait longer than its timeouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

STATEMENT_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A half-open connection is noticed within half a minute, one heartbeat, instead of the kernel's quarter of an hour."""


class Connections:
    """At most `size` connections to one database, opened when needed, used by one task at a time."""

    def __init__(self, dsn: str, *, application_name: str, size: int = 4) -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._idle: list[psycopg.AsyncConnection] = []
        self._free = asyncio.Semaphore(size)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection in autocommit mode. After any error, a cancelled task included, it is closed, not reused."""
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._open()
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def drop_idle(self) -> None:
        """After one connection broke: its idle siblings are as old, and most likely as dead."""
        await self.close()

    async def _open(self) -> psycopg.AsyncConnection:
        import psycopg

        connection = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            application_name=self._application_name,
            connect_timeout=CONNECT_TIMEOUT_S,
            prepare_threshold=None,  # a pooler may send each statement to another server process
            **KEEPALIVE,  # type: ignore[arg-type]  # libpq takes these as text or numbers
        )
        # not as start-up options: connection poolers in front of Postgres refuse those
        await connection.execute(f"set statement_timeout = '{STATEMENT_TIMEOUT_S}s'".encode())
        return connection
