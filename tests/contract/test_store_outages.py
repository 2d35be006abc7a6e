"""What a database says that cannot serve at the moment: every transport takes it for an outage, not for a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.queue_values import worker_info
from tests.support.queue_worlds import PostgresWorld
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import Disposition, PCWorkerException, SupabaseConnectionError

READ_ONLY = "25006"
"""What a Supabase project becomes when its disk is full, and a standby is."""

OTHERS = {
    "40P01": "deadlock",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available",
    "57014": "statement timeout",
    "57P01": "shutting down",
    "57P02": "crashed",
    "57P03": "starting up",
    "58030": "I/O error",
}
"""Not 40001, serialization failure: PostgREST repeats it by itself, without end, and no function of ours meets it."""

STATES = [
    READ_ONLY,
    *(pytest.param(state, marks=pytest.mark.slow, id=f"{state} {why}") for state, why in OTHERS.items()),
]


@contextlib.contextmanager
def saying(world: PostgresWorld, state: str) -> Iterator[None]:
    """Whoever is about to be noted as seen, is told this instead."""
    world.edit(f"""
        create function pc_worker.say() returns trigger language plpgsql as $$
        begin raise exception using errcode = '{state}', message = 'said by the test'; end $$;
        create trigger say before update on pc_worker.workers for each row execute function pc_worker.say();
    """)
    try:
        yield
    finally:
        world.edit("drop trigger say on pc_worker.workers; drop function pc_worker.say()")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("world", ["postgres", "supabase-worker"], indirect=True)
async def test_a_database_that_cannot_serve_is_waited_for(world: PostgresWorld, state: str) -> None:
    w1 = await world.worker()
    with saying(world, state), pytest.raises(PCWorkerException) as told:
        await world.store.heartbeat(w1.worker_id, w1.instance_id, [])
    assert isinstance(told.value, SupabaseConnectionError)
    assert told.value.disposition is Disposition.INFRASTRUCTURE
    assert (await world.store.heartbeat(w1.worker_id, w1.instance_id, [])).registered


async def test_a_database_that_is_read_only_loses_and_refuses_nothing(postgres: PostgresWorld) -> None:
    w1 = await postgres.worker()
    await postgres.store.close()
    name = postgres.rows("select current_database() as name")[0]["name"]
    postgres.edit(f'alter database "{name}" set default_transaction_read_only = on')
    try:
        with pytest.raises(SupabaseConnectionError) as told:
            await postgres.store.heartbeat(w1.worker_id, w1.instance_id, [])
        assert told.value.details["sqlstate"] == READ_ONLY
        await postgres.store.close()
    finally:
        postgres.edit("set default_transaction_read_only = off")
        postgres.edit(f'alter database "{name}" reset default_transaction_read_only')
    assert (await postgres.store.heartbeat(w1.worker_id, w1.instance_id, [])).registered


# --- a pooler ----------------------------------------------------------------------------------------------------


def message(kind: bytes, body: bytes) -> bytes:
    """Source: PostgreSQL documentation, "Message Formats"."""
    return kind + struct.pack("!i", len(body) + 4) + body


AUTHENTICATED = message(b"R", struct.pack("!i", 0)) + message(b"Z", b"I")


def fatal(state: str) -> bytes:
    fields = {b"S": b"FATAL", b"V": b"FATAL", b"C": state.encode(), b"M": b"no server is free"}
    return message(b"E", b"".join(kind + text + b"\0" for kind, text in fields.items()) + b"\0")


@contextlib.asynccontextmanager
async def pooler(state: str) -> AsyncIterator[int]:
    """It takes everybody in, and has no server for anybody: the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = struct.unpack("!i", await reader.readexactly(4))[0]
        await reader.readexactly(length - 4)
        writer.write(AUTHENTICATED)
        await reader.readexactly(1)
        writer.write(fatal(state))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("state", ["XX000", pytest.param("08P01", marks=pytest.mark.slow)])
async def test_a_pooler_without_a_free_server_is_waited_for(state: str) -> None:
    """It ends the session with a state of its own choice; Supavisor's is XX000, otherwise an internal error."""
    async with pooler(state) as port:
        dsn = f"host=127.0.0.1 port={port} user=x dbname=x sslmode=disable gssencmode=disable"
        store = PostgresStore(dsn, application_name="test")
        with pytest.raises(SupabaseConnectionError) as told:
            await store.register(worker_info())
        assert told.value.details["sqlstate"] == state
        await store.close()
