"""Supabase projects that had meetings before the worker came, and eyes on all that is in them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg

from tests.support.queue_values import result, worker_info
from worker.adapters.store_postgres import PostgresStore

PLAIN_MEETINGS = """
create table public.meetings (
    id uuid primary key default gen_random_uuid(), title text, audio_path text, status text not null default 'pending',
    created_at timestamptz not null default now());
insert into public.meetings (title, audio_path, status) values
    ('first', 'lab/1.wav', 'pending'), ('second', 'lab/2.wav', 'completed');
"""

SEGMENTS = """
create table public.transcript_segments (
    id bigint generated always as identity primary key,
    meeting_id uuid not null references public.meetings (id) on delete cascade, segment_index integer not null,
    start_s float8 not null, end_s float8 not null, text text not null);
insert into public.transcript_segments (meeting_id, segment_index, start_s, end_s, text)
    select id, 0, 0, 1, 'hello' from public.meetings where title = 'second';
"""

FIFTY_MEETINGS = """
create table public.meetings (
    id          uuid primary key default gen_random_uuid(),
    title       varchar(120) not null,
    audio_path  text,
    status      text not null default 'pending',
    room        text not null default 'Library',
    "end"       timestamptz,
    cost        numeric(8, 2),
    created_at  timestamptz default now(),
    updated_at  timestamptz default now());
create table public.comments (
    id bigserial primary key, meeting uuid not null references public.meetings (id), body text not null);
create view public.rooms as select room, count(*) from public.meetings group by room;

create function public.touch() returns trigger language plpgsql as
    $$ begin new.updated_at = clock_timestamp(); return new; end $$;
create trigger touched before update on public.meetings for each row execute function public.touch();

alter table public.meetings enable row level security;
create policy everybody_reads on public.meetings for select to authenticated using (true);
alter publication supabase_realtime add table public.meetings;

insert into public.meetings (title, audio_path, status, room, "end", cost, created_at, updated_at)
select 'meeting ' || n, 'lab/' || n || '.wav',
       (array['pending', 'pending', 'completed', 'failed', 'cancelled', 'processing', 'pending', 'completed', 'pending',
              'completed'])[n % 10 + 1],
       'room ' || n % 3, timestamptz '2024-05-01 12:00Z' + n * interval '1 day', n * 1.25,
       timestamptz '2024-05-01 10:00Z' - n * interval '1 hour', timestamptz '2024-06-01 10:00Z' + n * interval '1 hour'
  from generate_series(1, 50) n;
insert into public.comments (meeting, body) select id, 'about ' || title from public.meetings;
"""
"""Five rows in processing, 20 pending; the later the number, the older the meeting."""

_CATALOG = """
select 'schema ' || nspname, '' from pg_namespace where nspname not like 'pg\\_%'
union all
select c.oid::regclass::text || ' ' || c.relkind::text || ' ' || c.relrowsecurity || c.relowner::regrole::text,
       coalesce(c.relacl::text, '')
  from pg_class c where c.relnamespace in ('public'::regnamespace, coalesce(to_regnamespace('pc_worker'), 0::oid))
union all
select a.attrelid::regclass::text || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod) || a.attnotnull || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
       || coalesce(a.attacl::text, '')
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  join pg_class c on c.oid = a.attrelid
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'p') and not a.attisdropped and a.attnum > 0
union all
select conrelid::regclass::text || ' ' || conname, pg_get_constraintdef(oid) from pg_constraint
 where connamespace = 'public'::regnamespace
union all select indexname, indexdef from pg_indexes where schemaname = 'public'
union all
select tgrelid::regclass::text, pg_get_triggerdef(oid) || tgenabled::text from pg_trigger where not tgisinternal
union all select polrelid::regclass::text, polname from pg_policy
union all select proname, md5(prosrc) from pg_proc where pronamespace = 'public'::regnamespace
union all select 'role ' || rolname, '' from pg_roles where rolname = 'meeting_worker'
union all select 'bucket', id from storage.buckets
union all select 'published', tablename from pg_publication_tables
order by 1, 2
"""


def run(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def catalog(dsn: str) -> list[tuple[Any, ...]]:
    """Everything that is defined in the project, as text."""
    return run(dsn, _CATALOG)


def rows(dsn: str, table: str, columns: str = "*") -> list[dict[str, Any]]:
    """Every row of a table as JSON, sorted."""
    found = run(dsn, f"select to_jsonb(r) from (select {columns} from public.{table}) as r order by to_jsonb(r)::text")
    return [row for (row,) in found]


def everything(dsn: str) -> tuple[object, ...]:
    """To compare before and after."""
    tables = [name for (name,) in run(dsn, "select tablename from pg_tables where schemaname = 'public' order by 1")]
    return (catalog(dsn), {table: rows(dsn, table) for table in tables})


async def work_off(dsn: str) -> list[UUID]:
    """One worker completes all that is pending; the meetings in the order in which it got them."""
    store, info, done = PostgresStore(dsn, application_name="test"), worker_info(), []
    try:
        assert (await store.register(info)).outcome == "registered"
        while claim := (await store.claim(info.worker_id, info.instance_id, uuid4())).claim:
            answer = await store.complete(claim.meeting.id, claim.token, result(f"said in {claim.meeting.title}"))
            assert answer.outcome == "completed"
            done.append(claim.meeting.id)
    finally:
        await store.close()
    return done
