"""
What cannot be adopted is listed before anything is changed, each with SQL that mends it. The SQL is run here, as an
administrator would paste it, and then the migration must go through.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import make_conninfo

from tests.support.old_project import PLAIN_MEETINGS, SEGMENTS, everything, run, work_off
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from worker.adapters.adopt_plan import Clash
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import SchemaClashError


def column(definition: str) -> str:
    """Somebody's meetings with one more column, two rows in it."""
    return f"{PLAIN_MEETINGS} alter table public.meetings add {definition};"


CLASHES = {
    "ids that are numbers": (
        "create table public.meetings (id bigserial primary key, title text);"
        "insert into public.meetings (title) values ('a')",
        ["public.meetings.id is bigint; the worker needs uuid", "rename to meetings_old"],
    ),
    "owners that are texts": (
        column("user_id text default ''"),
        ["public.meetings.user_id is text", 'to "user_id_old"'],
    ),
    "times without a zone": (
        column("completed_at timestamp default now()"),
        ["public.meetings.completed_at is timestamp without time zone", "at time zone 'UTC'"],
    ),
    "a day as a time": (column("started_at date default now()"), ["public.meetings.started_at is date"]),
    "progress in percent": (
        column("progress integer default 50"),
        ["public.meetings.progress is integer; the worker needs double precision", "/ 100.0"],
    ),
    "progress in percent with a point": (
        column("progress float8 default 50"),
        ["2 rows of public.meetings do not keep to the rule", "progress / 100.0"],
    ),
    "a short text for the worker": (
        column("stage varchar(10)"),
        ["public.meetings.stage is character varying(10)", "type text"],
    ),
    "warnings as a text": (column("warnings text default 'x'"), ["public.meetings.warnings is text", "warnings_old"]),
    "warnings as texts": (
        column("warnings text[] default '{x}'"),
        ["public.meetings.warnings is text[]", "warnings_old"],
    ),
    "a result as json": (column("result json default '{}'"), ["public.meetings.result is json;", "::jsonb"]),
    "warnings of another kind": (
        column("warnings jsonb default '[\"loud\"]'"),
        ["public.meetings.warnings holds something else than the worker's warnings in 2 rows", "warnings_old"],
    ),
    "a result that is a list": (column("result jsonb default '[]'"), ["public.meetings.result holds", "result_old"]),
    "words of another kind": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments add words jsonb default '[{}]'",
        ["public.transcript_segments.words holds something else", "words_old"],
    ),
    "a summary of plain texts": (
        PLAIN_MEETINGS + "create table public.meeting_summaries (meeting_id uuid primary key references"
        " public.meetings (id) on delete cascade, overview text not null default '', method text not null default '',"
        " key_points jsonb); insert into public.meeting_summaries (meeting_id, key_points)"
        """ select id, '["a"]' from public.meetings""",
        ["public.meeting_summaries.key_points holds", "key_points_old"],
    ),
    "a priority of another size": (column("priority smallint"), ["public.meetings.priority is smallint"]),
    "a computed column": (
        column("duration_s float8 generated always as (1.0) stored"),
        ["public.meetings.duration_s is computed", "drop expression"],
    ),
    "a stage that is never empty": (
        column("stage text not null default ''"),
        ["public.meetings.stage may not be empty", "drop not null"],
    ),
    "a default that means none": (
        column("min_speakers integer default 0; update public.meetings set min_speakers = 2"),
        ["The default of public.meetings.min_speakers breaks the rule", "drop default"],
    ),
    "no speakers at most": (column("max_speakers integer default 0"), ["max_speakers", 'set "max_speakers" = null']),
    "other words for status": (
        PLAIN_MEETINGS + "alter table public.meetings alter status drop not null;"
        "update public.meetings set status = 'Done' where title = 'second';"
        "insert into public.meetings (status) values ('queued'), ('queued'), (null)",
        [
            "public.meetings.status is 'queued' in 2 rows",
            "set status = 'pending' where status = 'queued';",
            "'Done' in 1 rows",
            "set status = 'completed' where status = 'Done';",
            "status is empty in 1 rows",
        ],
    ),
    "a status of a type of its own": (
        "create type public.state as enum ('pending', 'running');"
        "create table public.meetings (id uuid primary key, status public.state not null default 'pending');"
        "insert into public.meetings values (gen_random_uuid(), 'running')",
        ["public.meetings.status is public.state; the worker needs text", "'running' in 1 rows", "type text"],
    ),
    "a check that knows four statuses": (
        PLAIN_MEETINGS + "alter table public.meetings add constraint four check (status in"
        " ('pending', 'processing', 'completed', 'failed'))",
        ["The check four on public.meetings refuses", "cancelled", 'drop constraint "four"'],
    ),
    "another first status": (
        PLAIN_MEETINGS + "alter table public.meetings alter status set default 'failed'",
        ["public.meetings.status has the default 'failed'", "set default 'pending'"],
    ),
    "a view": ("create view public.meetings as select 1 as id", ["public.meetings is a view", "alter view"]),
    "a partitioned table": (
        "create table public.speakers (id uuid) partition by hash (id)",
        ["public.speakers is a partitioned table"],
    ),
    "a trigger of our name": (
        PLAIN_MEETINGS + "create trigger meetings_before_update before update on public.meetings for each row"
        " execute function suppress_redundant_updates_trigger()",
        ["trigger meetings_before_update", "alter trigger"],
    ),
    "a policy of our name": (
        PLAIN_MEETINGS + "create policy pc_worker_select_own on public.meetings using (true)",
        ["policy pc_worker_select_own", "alter policy"],
    ),
    "a function of our name": (
        "create function public.meeting_cancel_v1(x integer) returns integer language sql as 'select 1'",
        ["function public.meeting_cancel_v1", 'alter function public."meeting_cancel_v1"(x integer)'],
    ),
    "a table with the name of our view": (
        "create table public.meeting_dashboard (x text)",
        ["table public.meeting_dashboard", "alter table"],
    ),
    "a constraint of our name": (
        PLAIN_MEETINGS + "alter table public.meetings add constraint meetings_duration_range check (title <> '')",
        ["constraint meetings_duration_range", "rename constraint"],
    ),
    "machinery without its records": (
        "create schema pc_worker; create table pc_worker.jobs (x text)",
        ["schema pc_worker", "alter schema pc_worker rename to"],
    ),
    "an id twice": (
        "create table public.meetings (id uuid, title text); insert into public.meetings"
        " select '00000000-0000-4000-8000-000000000001', x from unnest('{a,b}'::text[]) x",
        ["1 times more than one row with the same id", "delete from public.meetings"],
    ),
    "segments without times": (
        PLAIN_MEETINGS + "create table public.transcript_segments (id uuid primary key, meeting_id uuid, said text);"
        "insert into public.transcript_segments values (gen_random_uuid(), null, 'hello')",
        ["public.transcript_segments has no column segment_index", "rename to transcript_segments_old"],
    ),
    "segments without a meeting": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments alter meeting_id drop not null;"
        "insert into public.transcript_segments (segment_index, start_s, end_s, text) values (1, 0, 1, 'x')",
        ["public.transcript_segments.meeting_id is empty in 1 rows", "delete from"],
    ),
    "segments of meetings that are gone": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments drop constraint"
        " transcript_segments_meeting_id_fkey; update public.transcript_segments set meeting_id = gen_random_uuid()",
        ["1 rows of public.transcript_segments have a meeting_id that is not in public.meetings"],
    ),
    "segments that hold their meeting": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments drop constraint"
        " transcript_segments_meeting_id_fkey, add constraint holds foreign key (meeting_id)"
        " references public.meetings (id)",
        ["public.transcript_segments.meeting_id refers to public.meetings in another way", 'constraint "holds"'],
    ),
    "segments that end before they begin": (
        PLAIN_MEETINGS + SEGMENTS + "update public.transcript_segments set end_s = -1",
        ["1 rows of public.transcript_segments do not keep to the rule"],
    ),
    "segments that do not number themselves": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments alter id drop identity",
        ["public.transcript_segments.id does not fill itself", "add generated by default as identity"],
    ),
    "one segment for each meeting": (
        PLAIN_MEETINGS + SEGMENTS + "create unique index only_one on public.transcript_segments (meeting_id)",
        ["The key only_one allows one row of public.transcript_segments", 'drop index public."only_one"'],
    ),
    "a column that the worker does not fill": (
        PLAIN_MEETINGS + SEGMENTS + "alter table public.transcript_segments add mood text not null default 'x';"
        "alter table public.transcript_segments alter mood drop default",
        ["public.transcript_segments.mood may not be empty, and the worker does not fill it", "drop not null"],
    ),
    "a list of those who may process": (
        PLAIN_MEETINGS + "create table public.machines (name text primary key); alter table public.meetings"
        " add processed_by text constraint known references public.machines",
        ["public.meetings.processed_by refers to public.machines", 'drop constraint "known"'],
    ),
    "speakers with a vector of another kind": (
        PLAIN_MEETINGS + "create table public.speakers (id uuid primary key, embedding float8[])",
        ["public.speakers.embedding is double precision[]", "embedding_old"],
    ),
    "speakers with an owner each": (
        PLAIN_MEETINGS + "create table public.speakers (id uuid primary key default gen_random_uuid(),"
        " user_id uuid not null)",
        ["public.speakers.user_id may not be empty", "drop not null"],
    ),
    "a table with a name of a later migration": (
        "create table public.vocabulary (id serial primary key, word text); insert into public.vocabulary (word)"
        " values ('gluon')",
        ["table public.vocabulary, which is a name of the worker's", 'rename to "vocabulary_old"'],
    ),
    "a column of a later migration": (
        "create table public.speakers (id uuid primary key, name text, keeps_voice text)",
        ["column public.speakers.keeps_voice, which is a name of the worker's", 'to "keeps_voice_old"'],
    ),
}


@pytest.fixture
def project(server_dsn: str) -> Iterator[str]:
    with fresh_database(server_dsn) as dsn:
        yield make_project(dsn)


def refused(dsn: str) -> tuple[str, list[Clash]]:
    """The message and the list of a migration that must not go through, and changes nothing."""
    before = everything(dsn)
    with pytest.raises(SchemaClashError) as error:
        migrate(dsn)
    assert everything(dsn) == before
    return str(error.value), error.value.details["clashes"]


def mend(dsn: str, clashes: list[Clash]) -> None:
    for clash in clashes:
        run(dsn, clash.remedy or "select")


CASES = [
    pytest.param(there, told, id=name, marks=[] if number % 4 == 0 else [pytest.mark.slow])
    for number, (name, (there, told)) in enumerate(CLASHES.items())
]
"""Every fourth is tried each time, the others with the slow tests."""


@pytest.mark.parametrize(("there", "told"), CASES)
async def test_a_clash_is_listed_with_what_mends_it(project: str, there: str, told: list[str]) -> None:
    """It names table and column; nothing is changed; its remedy works, loses no table, and the worker can work."""
    run(project, there)
    message, clashes = refused(project)
    for part in told:
        assert part in message
    assert "Nothing was changed" in message
    tables = run(project, "select count(*) from pg_tables where schemaname = 'public'")[0][0]
    mend(project, clashes)
    done = migrate(project)
    assert done.applied
    assert run(project, "select count(*) from pg_tables where schemaname = 'public'")[0][0] >= tables
    run(project, "insert into public.meetings (title, audio_path) values ('new one', 'lab/n.wav')")
    assert await work_off(project)
    store = PostgresStore(project, application_name="test")
    for meeting in await store.meetings():
        assert await store.meeting(meeting.id)
    await store.close()


def test_everything_that_is_in_the_way_is_listed_at_once(project: str) -> None:
    """In the order in which the remedies work, so that the list can be pasted as it stands."""
    run(
        project,
        "create type public.state as enum ('queued', 'done'); create table public.meetings (id uuid primary key,"
        " status public.state not null default 'queued', progress integer check (progress > 100), user_id text);"
        "insert into public.meetings values (gen_random_uuid(), 'queued', null, 'x');"
        "create table public.transcript_segments (id serial, meeting_id bigint, line text not null);"
        "create function public.worker_claim_v1() returns text language sql as 'select null';",
    )
    message, clashes = refused(project)
    assert len(clashes) >= 6
    assert message.index("drop default") < message.index("set status = 'pending'")
    mend(project, clashes)
    migrate(project)


def test_a_table_of_another_role_is_for_that_role_to_give(project: str, server_dsn: str) -> None:
    """Whoever migrates could not change it half way through."""
    run(project, PLAIN_MEETINGS)
    as_superuser = project.replace("user=project_owner", "user=postgres")
    run(as_superuser, "alter table public.meetings owner to supabase_auth_admin")
    message, clashes = refused(project)
    assert "public.meetings belongs to the role supabase_auth_admin" in message
    mend(as_superuser, clashes)
    migrate(project)


def test_rows_that_the_owner_may_not_see_are_in_the_way(server_dsn: str) -> None:
    """Forced on the owner, row level security hides rows from the worker's functions, and from what is counted here."""
    with fresh_database(server_dsn) as dsn:
        run(
            dsn,
            "drop role if exists plain_owner; create role plain_owner login; alter schema public owner to plain_owner",
        )
        name = run(dsn, "select current_database()")[0][0]
        run(dsn, f"grant create on database {name} to plain_owner")
        owner = make_conninfo(dsn, user="plain_owner")
        run(owner, PLAIN_MEETINGS + "alter table public.meetings force row level security")
        with pytest.raises(SchemaClashError, match=r"Row level security is forced on public\.meetings") as error:
            migrate(owner)
        mend(owner, error.value.details["clashes"])
        assert "2 rows kept" in migrate(owner).adopted[0]


def test_names_and_values_are_quoted(project: str) -> None:
    """Somebody's column, constraint or status may hold a quotation mark: it stays a name in what is pasted."""
    run(
        project,
        PLAIN_MEETINGS + 'alter table public.meetings add "a ""b"" c" text not null default \'\';'
        'alter table public.meetings alter "a ""b"" c" drop default,'
        ' add constraint "it\'s ""one""" check (status <> \'cancelled\');'
        "update public.meetings set status = 'it''s' where title = 'first'",
    )
    message, clashes = refused(project)
    assert "where status = 'it''s';" in message
    mend(project, clashes)
    assert any('a "b" c' in note for note in migrate(project).notes)
