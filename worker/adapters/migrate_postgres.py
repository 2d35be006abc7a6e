"""
The schema's history: numbered SQL files, each run once, in order, in its own transaction.

What ran is recorded with a checksum in pc_worker.migrations. A file that changed after it ran, or a record this version
does not know, is a SchemaMismatchError that names the migration: guessing on from there would corrupt the queue.

A database without records that has tables of our names is adopted (adopt_postgres.py): then everything is one
transaction, and 0001 leaves alone what is there. Its record and checksum are those of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from worker.adapters import adopt_postgres
from worker.adapters.migrate_address import connect_parameters, connection_failure
from worker.exceptions import SchemaMismatchError, SupabaseQueryError

if TYPE_CHECKING:
    import psycopg

ADVISORY_LOCK = 0x70635F776F726B  # "pc_work": two migrators, on two PCs, take turns
LOCK_TIMEOUT_S = 10
"""How long a migration waits for a table that somebody is using, and so holds up everybody behind itself."""

BOOTSTRAP = """\
create schema if not exists pc_worker;
create table if not exists pc_worker.migrations (
    name        text primary key,
    checksum    text not null,
    applied_at  timestamptz not null default clock_timestamp()
);
"""

RELOAD = "notify pgrst, 'reload schema'"
"""PostgREST answers for the schema that it has read; it listens on this channel (its documentation, "Schema cache")."""

_GUARD = """\
do $$
declare
    taken text;
begin
    perform pg_advisory_xact_lock({lock});
    if to_regclass('pc_worker.migrations') is not null then
        if exists (select from pc_worker.migrations) then
            raise exception 'PC Worker is installed here already. To bring it up to date, run '
                '`python -m worker migrate` with SUPABASE_DB_URL set to the address of this database.';
        end if;
    end if;
    select string_agg(name, ', ') into taken from unnest('{{{tables}}}'::text[]) as name
     where to_regclass('public.' || name) is not null;
    if taken is not null then
        raise exception 'There are tables with names of PC Worker already: %. To keep their rows, run '
            '`python -m worker migrate` with SUPABASE_DB_URL set to the address of this database: it adopts them.',
            taken;
    end if;
end $$;
"""


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True)
class Migrated:
    """What `migrate` did, or would do: names of migrations, a sentence for each adopted table, and what to know."""

    applied: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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


def migrate(dsn: str, steps: Sequence[Migration] | None = None, *, dry_run: bool = False) -> Migrated:
    """
    Bring the database up to date, and adopt tables of our names that are there; nothing is run twice.

    Args:
        dsn: of a role that may create schemas; on Supabase the session pooler's, or the direct address.
        steps: all migrations in order; those of this version when None.
        dry_run: do it all in one transaction and undo it. The tables are locked as if it were meant.

    Raises SchemaMismatchError when a migration changed after it ran, or the database is newer than this worker;
    SchemaClashError when tables of our names do not fit, with nothing changed; ConfigurationError for an address that
    will not do; SupabaseConnectionError, SupabaseQueryError. A migration that fails leaves no trace.
    """
    import psycopg

    with _connected(dsn) as connection, _my_turn(connection), _heard(connection) as heard:
        recorded = _recorded(connection)
        todo = _to_run(recorded, steps or migrations())
        done = Migrated()
        if todo and not recorded and adopt_postgres.is_needed(connection, [step.sql for step in todo]):
            with connection.transaction():
                done = _adopt(connection, todo)
                if dry_run:
                    raise psycopg.Rollback
        elif dry_run:
            with connection.transaction():
                done = _run_all(connection, todo)
                raise psycopg.Rollback
        else:
            done = _run_all(connection, todo)
        if not dry_run:
            connection.execute(RELOAD)
        return Migrated(done.applied, done.adopted, (*done.notes, *heard))


def script() -> str:
    """
    The whole schema as one script for psql or a SQL editor, records included; for a database without it.

    It is one transaction, and stops with a sentence where the worker, or tables of its names, are already.
    """
    tables = ", ".join(adopt_postgres.TABLES)
    parts = [
        "-- PC Worker: the whole schema. Run it once, on a database that does not have it.\nbegin;\n",
        _GUARD.format(lock=ADVISORY_LOCK, tables=tables),
        BOOTSTRAP,
    ]
    for migration in migrations():
        parts.append(f"-- === {migration.name} ===\n\n{migration.sql}")
        parts.append(f"{_record(migration)};\n")
    return "\n".join([*parts, f"{RELOAD};\n", "commit;\n"])


def _record(migration: Migration) -> str:
    # both values are ours: a file name of this package and a hex digest
    return f"insert into pc_worker.migrations (name, checksum) values ('{migration.name}', '{migration.checksum}')"  # noqa: S608 - see above


def _run_all(connection: psycopg.Connection, todo: Sequence[Migration]) -> Migrated:
    connection.execute(BOOTSTRAP)
    for migration in todo:
        _run(connection, migration, migration.sql)
    return Migrated(applied=tuple(migration.name for migration in todo))


def _adopt(connection: psycopg.Connection, todo: Sequence[Migration]) -> Migrated:
    _limit(connection)
    adoption = adopt_postgres.prepare(connection, [migration.sql for migration in todo])
    connection.execute(BOOTSTRAP)
    first, *others = todo
    _run(connection, first, adopt_postgres.first_script(first.sql))
    adopt_postgres.link(connection, adoption)
    for migration in others:
        _run(connection, migration, migration.sql)
    adopt_postgres.finish(connection, adoption)
    return Migrated(tuple(m.name for m in todo), tuple(adoption.adopted), tuple(adoption.notes))


def _run(connection: psycopg.Connection, migration: Migration, sql: str) -> None:
    with connection.transaction():
        _limit(connection)
        connection.execute(sql.encode())
        connection.execute(_record(migration).encode())


def _limit(connection: psycopg.Connection) -> None:
    """For this transaction: work may take long, waiting for others may not."""
    connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_S}s'; set local statement_timeout = 0".encode())


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

    parameters = connect_parameters(dsn)
    try:
        opened = psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="pc-worker migrate")
    except psycopg.Error as error:
        raise connection_failure(str(error), parameters.get("host", "")) from None
    try:
        with opened:
            yield opened
    except psycopg.errors.LockNotAvailable:
        raise SupabaseQueryError(
            f"Something has been using the tables for {LOCK_TIMEOUT_S} s, so that they could not be changed. Nothing "
            "of this step was done. Try again, if need be with the programs that use the database stopped."
        ) from None
    except psycopg.Error as error:
        if (error.sqlstate or "").startswith("42"):  # a definition is refused: the text names things, and quotes no row
            raise SupabaseQueryError(
                f"The database refuses to be changed: {error.diag.message_primary}. Nothing of this step was done."
            ) from error
        raise mapped(error) from error


@contextmanager
def _heard(connection: psycopg.Connection) -> Iterator[list[str]]:
    """What a migration raises as a notice or a warning: sentences for people, unlike Postgres' own notices."""
    said: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if (notice.context or "").endswith("at RAISE") and notice.message_primary:
            said.append(notice.message_primary)

    connection.add_notice_handler(hear)
    try:
        yield said
    finally:
        connection.remove_notice_handler(hear)


@contextmanager
def _my_turn(connection: psycopg.Connection) -> Iterator[None]:
    """Given back by word: a pooler may keep the session when we are gone."""
    connection.execute("select pg_advisory_lock(%s)", [ADVISORY_LOCK])
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(%s)", [ADVISORY_LOCK])
