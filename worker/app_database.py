"""Which database the settings name, and how it is opened and brought up to date: part of the composition root."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from worker.app_access import project_access
from worker.config import Settings
from worker.exceptions import ConfigurationError, PCWorkerException
from worker.ports import Store

if TYPE_CHECKING:
    from worker.adapters.embedded_postgres import EmbeddedPostgres
    from worker.adapters.migrate_postgres import Migrated

logger = logging.getLogger(__name__)

REVIVE_EVERY_S = 3.0
EMBEDDED_DEFAULT = Path("data/postgres")


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """
    The store that the settings name. An embedded Postgres is started, migrated, and stopped by its last user.

    Raises ConfigurationError when the settings name none.
    """
    access = project_access(settings)
    if access is not None:
        from worker.adapters.store_supabase import SupabaseStore

        supabase = SupabaseStore(access.url, access.key.get_secret_value(), worker_token=access.token_text)
        try:
            yield supabase
        finally:
            await supabase.close()
        return
    async with _database(settings) as dsn, _postgres_store(settings, dsn) as store:
        yield store


@asynccontextmanager
async def looked_at_store(settings: Settings) -> AsyncIterator[Store | None]:
    """
    The store as it is: nothing is started, created or migrated. None for an embedded Postgres that does not run.

    Raises ConfigurationError when the settings name none.
    """
    folder = embedded_folder(settings.database_url.get_secret_value()) if settings.database_url else None
    if folder is None:
        async with opened_store(settings) as store:
            yield store
        return
    from worker.adapters.embedded_postgres import EmbeddedPostgres

    server = EmbeddedPostgres(folder)
    if not await asyncio.to_thread(server.is_running):
        yield None
        return
    dsn = await asyncio.to_thread(server.start)  # it runs: this makes us one of its users, until we leave
    try:
        async with _postgres_store(settings, dsn) as store:
            yield store
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _postgres_store(settings: Settings, dsn: str) -> AsyncIterator[Store]:
    from worker.adapters.store_postgres import PostgresStore

    store = PostgresStore(dsn, application_name=f"pc-worker {settings.worker_id or 'command line'}")
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The database that DATABASE_URL names; an embedded one is brought up to date first."""
    from worker.adapters.migrate_postgres import migrate

    url = _database_url(settings)
    async with _served(url) as dsn:
        if embedded_folder(url) is not None:
            await asyncio.to_thread(migrate, dsn)
        yield dsn


@asynccontextmanager
async def _served(url: str) -> AsyncIterator[str]:
    """An embedded Postgres runs for as long as it is used; any other is somebody else's to run."""
    folder = embedded_folder(url)
    if folder is None:
        yield url
        return
    from worker.adapters.embedded_postgres import EmbeddedPostgres

    server = EmbeddedPostgres(folder)
    dsn = await asyncio.to_thread(server.start)
    revival = asyncio.create_task(_revive(server), name="embedded postgres")
    try:
        yield dsn
    finally:
        revival.cancel()
        await asyncio.wait([revival])
        await asyncio.to_thread(server.stop)


async def _revive(server: EmbeddedPostgres) -> None:
    """Nobody else looks after our own server: when it was killed, start it again."""
    while True:
        await asyncio.sleep(REVIVE_EVERY_S)
        try:
            if not await asyncio.to_thread(server.is_running):
                await asyncio.to_thread(server.start)
        except PCWorkerException as error:
            logger.warning("embedded_postgres_down", extra={"code": error.code})


def embedded_folder(url: str) -> Path | None:
    """Where `embedded` or `embedded:FOLDER` keeps its data; None for any other address."""
    if url == "embedded":
        return EMBEDDED_DEFAULT
    return Path(url.removeprefix("embedded:")) if url.startswith("embedded:") else None


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError(
            "DATABASE_URL: not set. Set it to a Postgres, or to `embedded` for one of its own on this PC."
        )
    return settings.database_url.get_secret_value()


async def migrate(settings: Settings, *, dry_run: bool = False) -> Migrated:
    """
    Bring the database up to date, as its owner: DATABASE_URL, or the project's SUPABASE_DB_URL.

    Raises ConfigurationError when neither is set, or the two addresses of Supabase are of different projects; and what
    migrate_postgres.migrate raises.
    """
    from worker.adapters import migrate_postgres

    async with _served(_owners_url(settings)) as dsn:
        return await asyncio.to_thread(migrate_postgres.migrate, dsn, dry_run=dry_run)


def _owners_url(settings: Settings) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.supabase_db_url is None:
        raise ConfigurationError("SUPABASE_DB_URL: not set. Put the address of the project's database into .env.admin.")
    url = settings.supabase_db_url.get_secret_value()
    if settings.supabase_url is not None:
        from worker.adapters.migrate_address import refuse_other_project

        refuse_other_project(url, settings.supabase_url)
    return url


def migration_script() -> str:
    """All migrations as one SQL script, for a database that has none of them."""
    from worker.adapters import migrate_postgres

    return migrate_postgres.script()
