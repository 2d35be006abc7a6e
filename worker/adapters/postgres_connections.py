"""
A handful of psycopg connections that notice when the other end is gone.

Not psycopg_pool: its background workers and waiting rooms serve hundreds of clients; a worker has at most a few calls
at once, must not keep a dead connection, and must never wait longer than its timeouts.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

STATEMENT_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
CANCEL_TIMEOUT_S = 1.0
"""How long a server may take to hear that nobody waits for a statement any more."""
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

    async def rows(self, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """What one statement gives."""
        async with self.lend() as connection:
            return await _rows(connection, statement, parameters)

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
        try:
            # not as start-up options: connection poolers in front of Postgres refuse those
            await _rows(connection, f"set statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
        except BaseException:
            await connection.close()
            raise
        return connection


async def _rows(
    connection: psycopg.AsyncConnection, statement: str, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """
    A cancelled caller (its time is up, say) is let go at once, and the connection is of no use any more. psycopg by
    itself would ask the server to cancel and wait for that, up to ten seconds on a dead line.
    """
    work = asyncio.ensure_future(_work(connection, statement, parameters))
    work.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is looked at, whoever waits for it
    try:
        return await asyncio.shield(work)
    finally:
        if not work.done():
            await _hang_up(connection)
            await asyncio.wait([work])


async def _work(
    connection: psycopg.AsyncConnection, statement: str, parameters: dict[str, Any] | None
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement.encode(), parameters)
    return await cursor.fetchall() if cursor.description else []


async def _hang_up(connection: psycopg.AsyncConnection) -> None:
    """Whoever reads from the connection or writes to it gets an error now. A server that can still hear is told."""
    try:
        with suppress(Exception):
            await connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    finally:
        with suppress(Exception), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)
