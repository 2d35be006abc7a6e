"""A project that had meetings before the worker came: everything that was there stays, and goes on to be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.old_project import (
    FIFTY_MEETINGS,
    PLAIN_MEETINGS,
    SEGMENTS,
    catalog,
    everything,
    rows,
    run,
    work_off,
)
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from worker.adapters.migrate_postgres import Migrated, migrate, migrations, pending
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingStatus

THEIRS = 'id, title, audio_path, status, room, "end", cost, created_at, updated_at'


@pytest.fixture
def project(server_dsn: str) -> Iterator[str]:
    """A fresh project, as its owner."""
    with fresh_database(server_dsn) as dsn:
        yield make_project(dsn)


@pytest.fixture
async def store(project: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(project, application_name="test")
    yield store
    await store.close()


async def test_fifty_meetings_are_adopted_processed_and_nothing_is_lost(project: str, store: PostgresStore) -> None:
    """The purpose of it all: every row and value is as it was, what was pending is done, everything else left alone."""
    run(project, FIFTY_MEETINGS)
    before, comments = rows(project, "meetings", THEIRS), rows(project, "comments")
    waiting = run(project, "select id from public.meetings where status = 'pending' order by created_at")
    done = migrate(project)
    assert done.applied == tuple(m.name for m in migrations())
    assert len(done.adopted) == 1
    assert "50 rows kept, added user_id, audio_url, " in done.adopted[0]
    assert (rows(project, "meetings", THEIRS), rows(project, "comments")) == (before, comments)

    assert [(meeting_id,) for meeting_id in await work_off(project)] == waiting  # the oldest first
    assert len(waiting) == 20
    for (meeting_id,) in waiting:
        detail = await store.meeting(meeting_id)
        assert detail is not None
        assert detail.meeting.status is MeetingStatus.COMPLETED
        assert [segment.text for segment in detail.segments] == [f"said in {detail.meeting.title}"]
    after, ids = rows(project, "meetings", THEIRS), {str(meeting_id) for (meeting_id,) in waiting}
    assert [row for row in after if row["id"] not in ids] == [row for row in before if row["id"] not in ids]
    worked_on = {"status": "", "updated_at": ""}
    assert [row | worked_on for row in after] == [row | worked_on for row in before]
    assert rows(project, "comments") == comments
    assert run(project, "select count(*) from public.rooms") == [(3,)]


def test_a_second_migrate_does_nothing(project: str) -> None:
    """Adoption is for once: the records are those of any other project."""
    run(project, FIFTY_MEETINGS)
    migrate(project)
    before = everything(project)
    assert pending(project) == []
    assert migrate(project) == Migrated()
    assert everything(project) == before


def test_a_dry_run_of_an_adoption_changes_nothing(project: str) -> None:
    """And says the same as the adoption will."""
    run(project, FIFTY_MEETINGS)
    before = everything(project)
    would = migrate(project, dry_run=True)
    assert everything(project) == before
    assert migrate(project) == would


def test_what_an_administrator_must_know_is_said(project: str) -> None:
    """Rows that need a hand, and what stays that the worker did not make."""
    run(project, FIFTY_MEETINGS)
    stuck = run(project, "select id::text || ' (' || title || ')' from public.meetings where status = 'processing'")
    notes = migrate(project).notes
    (left_alone,) = [note for note in notes if "in processing" in note]
    assert left_alone.startswith("5 meetings")
    assert all(text in left_alone for (text,) in stuck)
    told = "\n".join(notes)
    for part in (
        "5 failed meetings had no error_code",
        "15 completed meetings had no completed_at: it is their updated_at",
        "public.meetings had no user_id",
        "role anon may no longer",
        "authenticated may no longer do this with public.meetings: ",
        "triggers on public.meetings stay, and run whenever the worker changes a row (stage and progress change "
        "often): touched",
        "These views show public.meetings with their owner's rights, past row level security, to people: rooms.",
        "policies on public.meetings stay, and may let people see or change more than the worker's own rules do: "
        "everybody_reads",
    ):
        assert part in told


def test_meetings_get_the_job_that_their_status_implies(project: str) -> None:
    """Without one, a failed meeting could not be retried; with one, somebody's stuck meeting would be done twice."""
    run(project, FIFTY_MEETINGS)
    migrate(project)
    assert run(
        project,
        "select m.status, j.state, count(*) from public.meetings m left join pc_worker.jobs j on j.meeting_id = m.id"
        " group by 1, 2 order by 1",
    ) == [
        ("cancelled", "cancelled", 5),
        ("completed", "completed", 15),
        ("failed", "failed", 5),
        ("pending", "pending", 20),
        ("processing", None, 5),
    ]


@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_stuck_meeting_can_be_cancelled_and_done_again(
    project: str, store: PostgresStore, *, by_hand: bool
) -> None:
    """By function or by an edit of its status, although it never had a job."""
    run(project, FIFTY_MEETINGS)
    migrate(project)
    ((stuck,),) = run(project, "select id from public.meetings where status = 'processing' order by title limit 1")
    job = f"select state from pc_worker.jobs where meeting_id = '{stuck}'"
    if by_hand:
        run(project, f"update public.meetings set status = 'cancelled' where id = '{stuck}'")
        assert run(project, job) == [("cancelled",)]
        run(project, f"update public.meetings set status = 'pending' where id = '{stuck}'")
    else:
        assert (await store.cancel(stuck)).outcome == "cancelled"
        assert run(project, job) == [("cancelled",)]
        assert (await store.cancel(stuck)).outcome == "already_done"
        assert (await store.retry(stuck)).outcome == "pending"
    assert stuck in await work_off(project)


@pytest.mark.parametrize("status", ["failed", "cancelled", "completed"])
async def test_an_old_meeting_can_be_retried(project: str, store: PostgresStore, status: str) -> None:
    """Whatever became of it before."""
    run(project, FIFTY_MEETINGS)
    migrate(project)
    ((meeting_id,),) = run(project, f"select id from public.meetings where status = '{status}' limit 1")
    assert (await store.retry(meeting_id)).outcome == "pending"
    assert meeting_id in await work_off(project)


def test_the_rest_of_the_schema_is_as_in_any_other_project(project: str, server_dsn: str) -> None:
    """Constraints, indexes, triggers, policies, the bucket, the publication: whatever a new project gets is there."""
    run(project, PLAIN_MEETINGS + SEGMENTS)
    migrate(project)
    with fresh_database(server_dsn) as dsn:
        fresh = make_project(dsn)
        migrate(fresh)
        assert {name for name, _ in set(catalog(fresh)) - set(catalog(project))} == {"meetings.created_at"}
    default = "select column_default from information_schema.columns where column_name = 'created_at' and table_name = "
    assert run(project, default + "'meetings'") == [("now()",)]  # theirs


ACCEPTED = {
    "an empty table": "create table public.meetings (id uuid)",
    "no primary key, and ids that are empty": "create table public.meetings (id uuid, title text);"
    "insert into public.meetings (title) values ('a'), ('b')",
    "a key of another name": "create table public.meetings (number serial primary key, title text);"
    "insert into public.meetings (title) values ('a'), ('b')",
    "values that may not be empty": "create table public.meetings (id uuid, status text, priority integer,"
    " warnings jsonb, created_at timestamptz); insert into public.meetings (status) values ('pending'), ('failed')",
    "texts with a limit where people write": "create table public.meetings (id uuid, title varchar(20),"
    " audio_path varchar(500), status varchar not null default 'pending');"
    "insert into public.meetings (title) values ('a'), ('b')",
    "other kinds of numbers for rows": PLAIN_MEETINGS
    + "create table public.transcript_segments (id uuid primary key default gen_random_uuid(), meeting_id uuid,"
    " segment_index integer, start_s float8, end_s float8, text text, mood text);",
    "a meeting's words from before": PLAIN_MEETINGS + SEGMENTS,
    "people that are known": PLAIN_MEETINGS + "create table public.speakers (id uuid primary key, name text not null"
    " unique); alter table public.speakers alter column name drop not null;"
    "insert into public.speakers values (gen_random_uuid(), 'Ada')",
    "a check that lets the worker write": PLAIN_MEETINGS + "alter table public.meetings add progress float8"
    " check (progress between 0 and 1), add check (status in"
    " ('pending', 'processing', 'completed', 'failed', 'cancelled', 'archived')), add check (length(title) > 2)",
}


@pytest.mark.parametrize("there", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_small_differences_are_made_up_for(project: str, there: str) -> None:
    """No administrator needs to do anything, and a meeting goes through afterwards."""
    run(project, there)
    before = run(project, "select count(*) from public.meetings")
    migrate(project)
    assert run(project, "select count(*) from public.meetings") == before
    meeting_id = uuid4()
    run(project, f"insert into public.meetings (id, title, audio_path) values ('{meeting_id}', 'new one', 'lab/n.wav')")
    assert meeting_id in await work_off(project)
    run(project, f"delete from public.meetings where id = '{meeting_id}'")
    assert run(project, f"select from public.transcript_segments where meeting_id = '{meeting_id}'") == []


async def test_meetings_of_users_stay_theirs(project: str) -> None:
    """A recording outside its owner's folder is said beforehand: no worker will fetch it."""
    owner = uuid4()
    run(project, f"insert into auth.users (id) values ('{owner}')")
    run(project, PLAIN_MEETINGS)
    run(project, "alter table public.meetings add user_id uuid not null default gen_random_uuid()")
    run(project, f"update public.meetings set user_id = '{owner}'")
    run(
        project,
        f"insert into public.meetings (title, user_id, audio_path) values ('fits', '{owner}', '{owner}/a.wav'),"
        f" ('has none', '{owner}', null)",
    )
    notes = "\n".join(migrate(project).notes)
    assert "1 pending meetings have an audio_path outside their owner's folder" in notes
    assert "1 pending meetings have neither audio_path nor audio_url" in notes
    assert "public.meetings.user_id may not be empty, as before" in notes
    assert "Row level security was off on public.meetings and is on now" in notes
    fits: UUID = run(project, "select id from public.meetings where title = 'fits'")[0][0]
    assert fits in await work_off(project)


def test_rights_on_columns_that_are_not_ours_stay_exactly_as_they_were(project: str) -> None:
    """What a dashboard could read and write it still can, and what was hidden from it still is."""
    run(
        project,
        PLAIN_MEETINGS
        + "alter table public.meetings add room text, add price numeric, add secret text;"
        + "revoke all on public.meetings from authenticated;"
        + "grant select (id, title, status, room, price), insert (title, room), update (title, room), delete"
        + " on public.meetings to authenticated",
    )
    done = migrate(project)
    may = run(
        project,
        "select a.attname, p.p from pg_attribute a cross join unnest('{select,insert,update}'::text[]) as p (p)"
        " where a.attrelid = 'public.meetings'::regclass and a.attname in ('room', 'price', 'secret')"
        " and has_column_privilege('authenticated', a.attrelid, a.attnum, p.p)",
    )
    assert set(may) == {("room", "select"), ("room", "insert"), ("room", "update"), ("price", "select")}
    assert run(project, "select has_column_privilege('authenticated', 'public.meetings', 'status', 'select')") == [
        (True,)
    ]
    lost = [note for note in done.notes if note.startswith("The role authenticated")]
    assert lost == ["The role authenticated may no longer do this with public.meetings: delete rows."]


def test_users_may_still_insert_where_a_column_of_theirs_is_numbered(project: str) -> None:
    """A serial column draws from its sequence as whoever inserts."""
    owner = uuid4()
    run(project, f"insert into auth.users (id) values ('{owner}')")
    run(project, PLAIN_MEETINGS + "alter table public.meetings add number serial")
    migrate(project)
    with psycopg.connect(project, autocommit=True) as connection:
        connection.execute("select set_config('request.jwt.claims', %s, false)", [f'{{"sub": "{owner}"}}'])
        connection.execute("set role authenticated")
        connection.execute("insert into public.meetings (title) values ('mine')")
        assert connection.execute("select title, number from public.meetings").fetchall() == [("mine", 3)]


def test_their_triggers_do_not_run_while_values_are_filled_in(project: str) -> None:
    """An updated_at of last year is not moved to today, and a trigger that was off stays off."""
    run(project, FIFTY_MEETINGS)
    run(project, "create trigger off before update on public.meetings for each row execute function public.touch()")
    run(project, "alter table public.meetings disable trigger off")
    before = rows(project, "meetings", "id, updated_at")
    migrate(project)
    assert rows(project, "meetings", "id, updated_at") == before
    assert run(
        project, "select tgname, tgenabled::text from pg_trigger where tgname in ('touched', 'off') order by 1"
    ) == [
        ("off", "D"),
        ("touched", "O"),
    ]
