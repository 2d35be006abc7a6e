"""The schema's history: run once, in order, recorded, and refused where it does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.queue_values import worker_info
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from worker.adapters import migrate_postgres
from worker.adapters.migrate_postgres import Migrated, Migration, migrate, migrations, pending, script
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import SchemaMismatchError, SupabaseConnectionError, SupabaseQueryError

NAMES = [migration.name for migration in migrations()]


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    with fresh_database(server_dsn) as dsn:
        yield dsn


def run(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def schema(dsn: str) -> list[tuple[object, ...]]:
    """Every column, constraint, index, trigger and function, as text."""
    return run(
        dsn,
        """
        select table_schema || '.' || table_name, column_name || ' ' || data_type || ' ' || is_nullable
               || coalesce(column_default, '')
          from information_schema.columns where table_schema in ('public', 'pc_worker')
        union all
        select conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
         where connamespace::regnamespace::text in ('public', 'pc_worker')
        union all select tablename, indexdef from pg_indexes where schemaname in ('public', 'pc_worker')
        union all select tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
        union all select proname, pg_get_functiondef(oid) from pg_proc
         where pronamespace::regnamespace::text in ('public', 'pc_worker')
        union all select name, checksum from pc_worker.migrations
        order by 1, 2
        """,
    )


def test_an_empty_database_gets_every_migration_once(empty_dsn: str) -> None:
    """In order; the second run has nothing to do."""
    assert pending(empty_dsn) == NAMES == sorted(NAMES)
    assert migrate(empty_dsn) == Migrated(applied=tuple(NAMES))
    assert pending(empty_dsn) == []
    assert migrate(empty_dsn) == Migrated()


def test_looking_changes_nothing(empty_dsn: str) -> None:
    """`pending` may be asked of a database that is not ours to touch."""
    pending(empty_dsn)
    assert run(empty_dsn, "select to_regnamespace('pc_worker')") == [(None,)]


def test_two_migrators_at_once_take_turns(empty_dsn: str) -> None:
    """Two PCs start at the same moment: one migrates, the other finds it done."""
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: migrate(empty_dsn), range(4)))
    assert sorted(done.applied for done in results) == [(), (), (), tuple(NAMES)]


def test_a_changed_migration_is_refused_by_name(empty_dsn: str) -> None:
    """What ran here is not what this version has: going on would be guessing."""
    migrate(empty_dsn)
    run(empty_dsn, f"update pc_worker.migrations set checksum = 'other' where name = '{NAMES[1]}'")
    for call in (migrate, pending):
        with pytest.raises(SchemaMismatchError, match=NAMES[1]):
            call(empty_dsn)


def test_a_newer_database_is_refused_by_name(empty_dsn: str) -> None:
    """This worker is the one to update."""
    migrate(empty_dsn)
    run(empty_dsn, "insert into pc_worker.migrations (name, checksum) values ('9999_future', 'x')")
    for call in (migrate, pending):
        with pytest.raises(SchemaMismatchError, match="9999_future"):
            call(empty_dsn)


def test_a_migration_that_fails_leaves_no_trace(empty_dsn: str) -> None:
    """Those before it stay, itself can be run again once it is mended."""
    good, bad = Migration("0001_good", "create table good ();"), "create table half (); select 1 / 0;"
    with pytest.raises(SupabaseQueryError):
        migrate(empty_dsn, [good, Migration("0002_bad", bad)])
    assert run(empty_dsn, "select to_regclass('good') is null, to_regclass('half') is null") == [(False, True)]
    mended = Migration("0002_bad", "create table half ();")
    assert migrate(empty_dsn, [good, mended]).applied == ("0002_bad",)


def test_what_the_database_refuses_is_said(empty_dsn: str) -> None:
    """For the administrator at the command line: which thing, and that nothing was done."""
    with pytest.raises(SupabaseQueryError, match=r'type "nonsense" does not exist. Nothing of this step was done'):
        migrate(empty_dsn, [Migration("0001_bad", "create table half (x nonsense);")])


def test_a_dry_run_says_what_would_be_done_and_does_nothing(empty_dsn: str) -> None:
    """It is tried for real and undone, so that it cannot promise what would fail."""
    assert migrate(empty_dsn, dry_run=True) == Migrated(applied=tuple(NAMES))
    assert run(empty_dsn, "select to_regnamespace('pc_worker'), to_regclass('public.meetings')") == [(None, None)]
    migrate(empty_dsn, migrations()[:-1])
    assert migrate(empty_dsn, dry_run=True).applied == (NAMES[-1],)
    assert pending(empty_dsn) == [NAMES[-1]]


def test_postgrest_is_told_to_read_the_schema_anew(empty_dsn: str) -> None:
    """Else it would go on answering for the functions that it has seen. Also when nothing was to be done."""
    with psycopg.connect(empty_dsn, autocommit=True) as listening:
        listening.execute("listen pgrst")
        for _ in range(2):
            migrate(empty_dsn)
            heard = [notice.payload for notice in listening.notifies(timeout=10, stop_after=1)]
            heard += [notice.payload for notice in listening.notifies(timeout=0)]
            assert heard[-1] == "reload schema"


def test_a_table_in_use_is_waited_for_only_so_long(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that waits for a lock would hold up everybody else who comes to the table."""
    monkeypatch.setattr(migrate_postgres, "LOCK_TIMEOUT_S", 0.1)
    steps = [Migration("0001_good", "create table used ();")]
    migrate(empty_dsn, steps)
    with psycopg.connect(empty_dsn) as busy:
        busy.execute("lock table used")
        with pytest.raises(SupabaseQueryError, match="using the tables"):
            migrate(empty_dsn, [*steps, Migration("0002_more", "alter table used add column x text;")])
    assert run(empty_dsn, "select count(*) from pc_worker.migrations") == [(1,)]


def test_the_printed_script_makes_the_same_schema(empty_dsn: str, server_dsn: str) -> None:
    """Pasted into a SQL editor it leaves nothing pending, checksums included."""
    run(empty_dsn, script())
    assert pending(empty_dsn) == []
    with fresh_database(server_dsn) as migrated:
        migrate(migrated)
        assert schema(empty_dsn) == schema(migrated)


def test_the_printed_script_works_for_the_owner_of_a_fresh_project(empty_dsn: str, server_dsn: str) -> None:
    """Who is no superuser. It makes what `migrate` makes there, and PostgREST hears of it."""
    owner = make_project(empty_dsn)
    with psycopg.connect(owner, autocommit=True) as listening:
        listening.execute("listen pgrst")
        run(owner, script())
        heard = [notice.payload for notice in listening.notifies(timeout=10, stop_after=1)]
        assert "reload schema" in heard
    assert pending(owner) == []
    with fresh_database(server_dsn) as other:
        migrate(make_project(other))
        assert schema(empty_dsn) == schema(other)


def test_the_printed_script_stops_where_the_worker_is_already(empty_dsn: str) -> None:
    """Pasting it twice changes nothing, and says which command to use instead."""
    run(empty_dsn, script())
    before = schema(empty_dsn)
    with pytest.raises(psycopg.errors.RaiseException, match=r"installed here already.*python -m worker migrate"):
        run(empty_dsn, script())
    assert schema(empty_dsn) == before


def test_the_printed_script_stops_at_tables_of_our_names(empty_dsn: str) -> None:
    """Adopting them takes a look at them first, which a script cannot."""
    run(empty_dsn, "create table public.meetings (id bigint); create table public.speakers ()")
    with pytest.raises(psycopg.errors.RaiseException, match=r"already: meetings, speakers.*python -m worker migrate"):
        run(empty_dsn, script())
    assert run(empty_dsn, "select to_regnamespace('pc_worker')") == [(None,)]


def test_a_table_that_somebody_made_under_a_name_of_a_later_migration_is_named(empty_dsn: str) -> None:
    """On a database that is ours already nothing is adopted: the sentence says what to rename, and the rest stays."""
    migrate(empty_dsn, [migration for migration in migrations() if migration.name < "0012"])
    run(empty_dsn, "create table public.vocabulary (term text primary key); insert into public.vocabulary values ('x')")
    with pytest.raises(SupabaseQueryError, match=r"public\.vocabulary already.*Rename yours"):
        migrate(empty_dsn)
    run(empty_dsn, "alter table public.vocabulary rename to vocabulary_old")
    assert migrate(empty_dsn).applied[0] == "0012_vocabulary"
    assert run(empty_dsn, "select * from public.vocabulary_old") == [("x",)]


def test_an_unreachable_database_is_a_connection_error(tmp_path: object) -> None:
    """Mapped like every foreign error."""
    with pytest.raises(SupabaseConnectionError):
        migrate(f"host={tmp_path} dbname=postgres")


def test_the_product_goes_by_the_databases_clock(empty_dsn: str) -> None:
    """The other tests replace pc_worker.now(); here is what it really is."""
    migrate(empty_dsn)
    within = "select pc_worker.now() - clock_timestamp() between interval '-1 minute' and interval '0'"
    assert run(empty_dsn, within) == [(True,)]
    body = run(empty_dsn, "select prosrc from pg_proc where oid = 'pc_worker.now'::regproc")
    assert body == [(" select pg_catalog.clock_timestamp() ",)]


def test_functions_keep_to_the_rules_that_postgrest_needs(empty_dsn: str) -> None:
    """
    Public ones: versioned, one jsonb, no overloads, no sets, parameters that every transport binds alike.
    All: no search path to be led astray by; those that touch tables run with their owner's rights.
    """
    migrate(empty_dsn)
    functions = run(
        empty_dsn,
        """
        select p.pronamespace::regnamespace::text, p.proname, p.prosecdef, coalesce(p.proconfig, '{}'), p.proretset,
               p.prorettype::regtype::text, array(select t::regtype::text from unnest(p.proargtypes) t), p.provolatile
          from pg_proc p where p.pronamespace::regnamespace::text in ('public', 'pc_worker')
        """,
    )
    public = [function for function in functions if function[0] == "public"]
    names = {str(function[1]) for function in public}
    assert len(names) == len(public)
    for _, name, _, _, returns_set, returns, parameters, _ in public:
        assert re.search(r"_v\d+$", str(name)), name
        assert (returns_set, returns) == (False, "jsonb"), name
        assert set(parameters) <= {"text", "bigint", "double precision", "jsonb", "uuid"}, name  # type: ignore[call-overload]
    words = {"span_in_words", "start_in_words", "finish_in_words"}
    pure = {"now", "seconds", "edited_sentence", "is_path_refused", "seconds_left"} | words
    vocabulary = {"vocabulary_list_v1", "vocabulary_add_v1", "vocabulary_remove_v1"}
    as_caller = {"meeting_detail_v1", "meeting_detail_v2", "guidance_get_v1", "guidance_set_v1"} | vocabulary
    """Row policies apply to whoever calls it."""
    for _, name, is_definer, config, *_ in functions:
        assert 'search_path=""' in config, name  # type: ignore[operator]
        assert is_definer or name in pure | as_caller, name


async def test_a_store_on_an_empty_database_says_what_to_do(empty_dsn: str) -> None:
    """Migrate it."""
    store = PostgresStore(empty_dsn, application_name="test")
    with pytest.raises(SchemaMismatchError, match="migrate"):
        await store.register(worker_info())
    with pytest.raises(SchemaMismatchError, match="migrate"):
        await store.meetings()
    await store.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (f"delete from pc_worker.migrations where name = '{NAMES[-1]}'", NAMES[-1]),
        ("insert into pc_worker.migrations (name, checksum) values ('9999_future', 'x')", "9999_future"),
    ],
)
async def test_a_worker_of_another_schema_is_told_which_migration(empty_dsn: str, change: str, named: str) -> None:
    """Older or newer: it does not register, and the answer names the difference."""
    migrate(empty_dsn)
    run(empty_dsn, change)
    store = PostgresStore(empty_dsn, application_name="test")
    answer = await store.register(worker_info())
    assert answer.outcome == "schema"
    assert answer.message is not None
    assert named in answer.message
    await store.close()
