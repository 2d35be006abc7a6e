"""Whether database and worker fit each other can be asked without registering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.support.queue_worlds import QueueWorld, fresh_database
from worker.adapters.migrate_postgres import migrate, migrations
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import SchemaMismatchError

LAST = migrations()[-1].name


@pytest.fixture
async def empty_dsn(server_dsn: str) -> AsyncIterator[str]:
    with fresh_database(server_dsn) as dsn:
        yield dsn


async def difference(dsn: str) -> str | None:
    store = PostgresStore(dsn, application_name="test")
    try:
        return await store.schema()
    finally:
        await store.close()


async def test_a_database_with_this_workers_migrations_fits(world: QueueWorld) -> None:
    assert await world.store.schema() is None
    assert (await world.store.status()).workers == (), "asking registers nobody"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (f"delete from pc_worker.migrations where name = '{LAST}'", f"lacks the migration {LAST}"),
        ("insert into pc_worker.migrations (name, checksum) values ('9999_future', 'x')", "does not know 9999_future"),
    ],
)
async def test_an_older_or_newer_database_is_told_by_its_migration(empty_dsn: str, change: str, told: str) -> None:
    await asyncio.to_thread(migrate, empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(change.encode())
    assert told in (await difference(empty_dsn) or "")


async def test_a_database_without_the_question_is_too_old(empty_dsn: str) -> None:
    await asyncio.to_thread(migrate, empty_dsn, migrations()[:5])
    with pytest.raises(SchemaMismatchError, match="migrate"):
        await difference(empty_dsn)
