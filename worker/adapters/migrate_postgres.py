"""
The schema's history: numbered SQL files, each run once, in order, in its own transaction.

What ran is recorded with a checksum in pc_worker.migrations. A file that changed after it ran, or a record this version
does not know, is a SchemaMismatchError that names the migration: guessing on from there would corrupt the queue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from worker.exceptions import SchemaMismatchError

if TYPE_CHECKING:
    import psycopg

ADVISORY_LOCK = 0x70635F776F726B  # "pc_work": two migrators, on two PCs, take turns

BOOTSTRAP = """\
create schema if not exists pc_worker;
create table if not exists pc_worker.migrations (
    name        text primary key,
    checksum    text not null,
    applied_at  timestamptz not null default clock_timestamp()
);
"""


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version, in order."""
    files = (item for item in resources.files("worker.sql").iterdir() if item.name.endswith(".sql"))
    return tuple(
        Migration(item.name.removesuffix(".sql"), item.read_text("utf-8"))
        for item in sorted(files, key=lambda item: item.name)
    )


def pending(dsn: str, steps: Sequence[Migration] | None = None) -> list[str]:
    """
    The migrations that `migrate` would run. Reads only.

    Raises SchemaMismatchError as `migrate` does, SupabaseConnectionError, SupabaseQueryError.
    """
    with _connected(dsn) as connection:
        return [migration.name for migration in _to_run(_recorded(connection), steps or migrations())]


def migrate(dsn: str, steps: Sequence[Migration] | None = None) -> list[str]:
    """
    Bring the database up to date and return what was run; nothing is run twice.

    Args:
        steps: all migrations in order; those of this version when None.

    Raises SchemaMismatchError when a migration changed after it ran, or the database is newer than this worker;
    SupabaseConnectionError, SupabaseQueryError. A migration that fails leaves no trace.
    """
    with _connected(dsn) as connection:
        connection.execute("select pg_advisory_lock(%s)", [ADVISORY_LOCK])
        connection.execute(BOOTSTRAP)
        todo = _to_run(_recorded(connection), steps or migrations())
        for migration in todo:
            _run(connection, migration)
        return [migration.name for migration in todo]


def script() -> str:
    """The whole schema as one script for psql or a SQL editor, records included; for a database without it."""
    parts = ["-- PC Worker: the whole schema. Run it once, on a database that does not have it.\nbegin;\n", BOOTSTRAP]
    for migration in migrations():
        parts.append(f"-- === {migration.name} ===\n\n{migration.sql}")
        parts.append(f"{_record(migration)};\n")
    return "\n".join([*parts, "commit;\n"])


def _record(migration: Migration) -> str:
    # both values are ours: a file name of this package and a hex digest
    return f"insert into pc_worker.migrations (name, checksum) values ('{migration.name}', '{migration.checksum}')"  # noqa: S608 - see above


def _run(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        connection.execute(migration.sql.encode())
        connection.execute(_record(migration).encode())


def _recorded(connection: psycopg.Connection) -> dict[str, str]:
    found = connection.execute("select to_regclass('pc_worker.migrations')").fetchone()
    if found is None or found[0] is None:
        return {}
    return dict(connection.execute("select name, checksum from pc_worker.migrations").fetchall())


def _to_run(recorded: dict[str, str], steps: Sequence[Migration]) -> list[Migration]:
    known = {migration.name: migration for migration in steps}
    unknown = sorted(recorded.keys() - known.keys())
    if unknown:
        raise SchemaMismatchError(
            f"The database is newer than this worker, which does not know the migration {unknown[0]}. "
            "Update the worker.",
            migration=unknown[0],
        )
    for name, checksum in sorted(recorded.items()):
        if known[name].checksum != checksum:
            raise SchemaMismatchError(
                f"The migration {name} in the database is not the one of this worker. Use one version of the worker "
                "on all PCs, and ask its developers if it is the same everywhere.",
                migration=name,
            )
    return [migration for name, migration in known.items() if name not in recorded]


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    import psycopg

    from worker.adapters.postgres_errors import mapped

    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="pc-worker migrate") as opened:
            yield opened
    except psycopg.Error as error:
        raise mapped(error) from error
