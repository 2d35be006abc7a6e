"""What the migration of the rights makes of a project, of a plain Postgres, and of what it finds there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.access_probe import A_DONE, B_DONE, A, B, ProbedProject, get, insert, probed_project, rpc
from tests.support.embedded_postgres import temporary_postgres
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import add_user, make_project
from worker.adapters.migrate_postgres import migrate, migrations
from worker.exceptions import PCWorkerException

BEFORE = [step for step in migrations() if step.name < "0006"]


@contextmanager
def project_on(server_dsn: str) -> Iterator[tuple[str, str]]:
    """A project that is not migrated: the conninfo of the superuser and of its owner."""
    with fresh_database(server_dsn) as dsn:
        yield dsn, make_project(dsn)


@pytest.fixture(scope="module")
def bare_server() -> Iterator[str]:
    """Roles belong to the whole server: here no other test makes any."""
    with temporary_postgres() as dsn:
        yield dsn


@pytest.fixture
def server_without_worker(bare_server: str) -> Iterator[str]:
    """It has a project's roles, but nobody has made that of a worker."""
    with project_on(bare_server):
        pass
    yield bare_server
    run(bare_server, "drop role meeting_worker")


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    with fresh_database(server_dsn) as dsn:
        yield dsn


def run(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


# --- roles -----------------------------------------------------------------------------------------------------------


WORKER_ROLE = """
select r.rolcanlogin, r.rolinherit, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolconfig,
       pg_has_role('authenticator', r.oid, 'member'),
       exists (select from pg_auth_members where member = r.oid)
  from pg_roles r where r.rolname = 'meeting_worker'
"""
AS_IT_SHOULD_BE = (False, False, False, False, False, False, ["statement_timeout=8s"], True, False)


def test_a_plain_postgres_is_closed_and_gets_no_roles() -> None:
    """Its owner works as before; whoever else may log in sees nothing."""
    with temporary_postgres() as dsn:
        migrate(dsn)
        assert run(dsn, "select rolname from pg_roles where rolname in ('meeting_worker', 'authenticated')") == []
        assert run(dsn, "select policyname from pg_policies") == []
        run(dsn, "insert into public.meetings (audio_path) values ('lab/a.wav')")
        assert run(dsn, "select public.worker_status_v1() ->> 'outcome'") == [("ok",)]
        assert run(dsn, "select public.meeting_cancel_v1(id) ->> 'outcome' from public.meetings") == [("cancelled",)]
        run(dsn, "create role somebody")
        for statement in ("select from public.meetings", "select public.worker_status_v1()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                run(dsn, f"set role somebody; {statement}")


@pytest.mark.parametrize("attributes", ["bypassrls", "superuser", "replication", "in role service_role"])
def test_a_role_that_may_do_too_much_is_refused(server_without_worker: str, attributes: str) -> None:
    """A role of that name that bypasses the policies would let a lab PC read everything; nothing is changed."""
    run(server_without_worker, f"create role meeting_worker {attributes}")
    with project_on(server_without_worker) as (dsn, owner_dsn):
        with pytest.raises(PCWorkerException, match="may do more than a worker needs"):
            migrate(owner_dsn)
        assert run(dsn, "select max(name) from pc_worker.migrations") == [(BEFORE[-1].name,)]


def test_a_role_that_is_there_is_put_right(server_without_worker: str) -> None:
    """Made by hand, by the owner; the next project on the server finds it as it should be."""
    for made_by_hand in ("create role meeting_worker login createdb inherit", "select 'it is there'"):
        with project_on(server_without_worker) as (dsn, owner_dsn):
            run(owner_dsn, made_by_hand)
            migrate(owner_dsn)
            assert run(dsn, WORKER_ROLE) == [AS_IT_SHOULD_BE]


def test_a_role_that_the_superuser_made_will_do(server_without_worker: str) -> None:
    """The owner of the project may not change that role, and need not."""
    with project_on(server_without_worker) as (superuser_dsn, _), project_on(server_without_worker) as (dsn, owner_dsn):
        migrate(superuser_dsn)
        migrate(owner_dsn)
        assert run(dsn, WORKER_ROLE) == [AS_IT_SHOULD_BE]


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_deleted_user_takes_meetings_results_voices_and_words_along(server_dsn: str) -> None:
    """Nothing private is left to the lab, and nobody else's is touched."""
    with probed_project(server_dsn) as project:
        project.stand_anew()
        before = {row for row in project.rows() if row[0].startswith("public.")}
        project.admin.execute("delete from auth.users where id = %s", [A])
        after = {row for row in project.rows() if row[0].startswith("public.")}
        assert after < before
        assert [row for row in after if str(A) in row[1] or str(A_DONE) in row[1]] == []
        kept = [table for table, row in sorted(after) if str(B) in row or str(B_DONE) in row]
        assert len(set(kept)) == 10
        assert project.admin.execute("select count(*) from pc_worker.jobs").fetchone() == (6,)
        for private in ("voices", "speaker_versions"):
            assert project.admin.execute(f"select count(*) from pc_worker.{private}").fetchone() == (2,)


def test_rows_of_users_who_are_gone_stay_and_new_ones_must_exist(empty_dsn: str) -> None:
    """An adopted table may hold such rows; they are not touched, and the rule holds from now on."""
    owner_dsn = make_project(empty_dsn)
    migrate(owner_dsn, BEFORE)
    run(owner_dsn, "insert into public.meetings (user_id, title) values (%s, 'of one who is gone')", uuid4())
    migrate(owner_dsn)
    assert run(owner_dsn, "select title from public.meetings") == [("of one who is gone",)]
    run(owner_dsn, "insert into public.meetings (user_id) values (%s)", add_user(empty_dsn))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run(owner_dsn, "insert into public.meetings (user_id) values (%s)", uuid4())


def test_a_column_that_refers_to_something_keeps_that_and_its_default(empty_dsn: str) -> None:
    """A project with a table of profiles knows its users by that."""
    owner_dsn = make_project(empty_dsn)
    migrate(owner_dsn, BEFORE)
    run(
        owner_dsn,
        "create table public.profiles (id uuid primary key);"
        "alter table public.meetings add foreign key (user_id) references public.profiles,"
        " alter column user_id set default '00000000-0000-0000-0000-000000000000'",
    )
    migrate(owner_dsn)
    references = run(
        owner_dsn,
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint c"
        " where contype = 'f' and confrelid::regclass::text in ('profiles', 'auth.users') order by 1",
    )
    owned = ("speaker_decisions", "speakers", "summary_guidance", "vocabulary")
    assert references == [("meetings", "profiles"), *((table, "auth.users") for table in owned)]
    found = run(owner_dsn, "select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = 'meetings'::regclass")
    assert ("'00000000-0000-0000-0000-000000000000'::uuid",) in found


def test_a_wide_policy_of_the_project_lets_nobody_add_what_is_forbidden(server_dsn: str) -> None:
    """`with check (true)` is what many projects begin with; our limits hold beside it."""
    with probed_project(server_dsn) as project:
        project.stand_anew()
        project.admin.execute("create policy wide on public.meetings for all to public using (true) with check (true)")
        refused = [
            insert(user_id=B, audio_path=f"{B}/m1/audio.wav"),
            insert(audio_path=f"{B}/m1/audio.wav"),
            insert(user_id=None, title="the lab's"),
            insert(priority=1),
        ]
        assert [project.send("A", act).status_code for act in refused] == [403] * 4
        assert project.send("anon", get("meetings")).status_code == 401


# --- the bucket and realtime -----------------------------------------------------------------------------------------


def test_the_bucket_is_made_private(empty_dsn: str) -> None:
    """With the defaults of the project for size and type."""
    migrate(make_project(empty_dsn))
    assert run(empty_dsn, "select id, name, public from storage.buckets") == [("meeting-audio", "meeting-audio", False)]


def test_a_public_bucket_of_that_name_is_closed_and_keeps_the_rest(empty_dsn: str) -> None:
    """A recording that anybody can fetch who knows its path is never left so in silence."""
    owner_dsn = make_project(empty_dsn)
    run(
        empty_dsn,
        "insert into storage.buckets (id, name, public, file_size_limit)"
        " values ('meeting-audio', 'meeting-audio', true, 5000), ('avatars', 'avatars', true, null)",
    )
    migrate(owner_dsn)
    found = run(empty_dsn, "select id, public, file_size_limit from storage.buckets order by id")
    assert found == [("avatars", True, None), ("meeting-audio", False, 5000)]


PUBLISHED = "select schemaname || '.' || tablename from pg_publication_tables where pubname = 'supabase_realtime'"


def test_dashboards_can_subscribe_to_meetings(empty_dsn: str) -> None:
    """To the meetings alone; the machinery's rows would be noise, and nobody's business."""
    migrate(make_project(empty_dsn))
    assert run(empty_dsn, PUBLISHED) == [("public.meetings",)]


@pytest.mark.parametrize(
    "publication", ["for all tables", "for table public.meetings", "for tables in schema public", None]
)
def test_a_publication_that_has_meetings_already_or_is_not_there_is_fine(
    empty_dsn: str, publication: str | None
) -> None:
    """Each is a state that projects are in."""
    owner_dsn = make_project(empty_dsn)
    migrate(owner_dsn, BEFORE)
    run(empty_dsn, "drop publication supabase_realtime")
    if publication:
        run(empty_dsn, f"create publication supabase_realtime {publication}")
    migrate(owner_dsn)
    assert (("public.meetings",) in run(empty_dsn, PUBLISHED)) == bool(publication)


# --- who is calling --------------------------------------------------------------------------------------------------

CALLERS = [
    # the role that the connection was switched to, the claims beside it, whether A's meeting is there for it
    ("authenticated", f'{{"role": "authenticated", "sub": "{A}"}}', True),
    ("authenticated", f'{{"role": "service_role", "sub": "{B}"}}', False),
    ("authenticated", f'{{"role": "authenticated", "sub": "{B}"}}', False),
    ("authenticated", '{"role": "authenticated", "sub": null}', False),
    ("authenticated", '{"role": "authenticated", "sub": "no uuid"}', False),
    ("authenticated", "{}", False),
    ("authenticated", "[]", False),
    ("authenticated", "", False),
    ("service_role", '{"role": "service_role"}', True),
    ("service_role", "", True),
    ("project_owner", "", True),
    ("postgres", "", True),
    ("authenticator", f'{{"role": "authenticated", "sub": "{A}"}}', False),
    ("meeting_worker", f'{{"role": "authenticated", "sub": "{A}"}}', False),
    ("anon", f'{{"role": "authenticated", "sub": "{A}"}}', False),
    ("none", "", True),  # not switched: the superuser itself
]


@pytest.fixture(scope="module")
def project(server_dsn: str) -> Iterator[ProbedProject]:
    """Everybody may call the functions here, so that nothing but their own check holds."""
    with probed_project(server_dsn) as probed:
        probed.admin.execute("grant execute on all functions in schema public to public")
        probed.stand_anew()
        yield probed


@pytest.mark.parametrize(("role", "claims", "is_there"), CALLERS)
def test_the_functions_of_people_go_by_the_role_first(
    project: ProbedProject, role: str, claims: str, is_there: bool
) -> None:
    """Claims alone prove nothing, and without any a user has no meeting."""
    retries = ("meeting_retry_v1(%s, 'false')", "meeting_retry_v2(%s, 'false', 'diarize')")
    for function in ("meeting_cancel_v1(%s)", *retries):
        with project.admin.transaction(force_rollback=True):
            project.admin.execute("select set_config('request.jwt.claims', %s, true)", [claims])
            project.admin.execute("select set_config('role', %s, true)", [role])
            found = project.admin.execute(f"select public.{function}".encode(), [A_DONE]).fetchone()
            assert found is not None
            assert (found[0]["outcome"] != "gone") == is_there


def test_corrections_are_only_replaced_when_that_is_said(project: ProbedProject) -> None:
    """A missing or odd answer to "replace them?" is a no."""
    project.stand_anew()
    project.admin.execute("update public.transcript_segments set text = 'corrected'")
    no_clear_yes: tuple[Any, ...] = (None, False, "true", {}, [])
    for answer in no_clear_yes:
        sent = project.send("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE, p_replace_edits=answer))
        assert sent.json()["outcome"] == "refused"
    assert project.send("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE)).json()["outcome"] == "refused"
    sent = project.send("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE, p_replace_edits=True))
    assert sent.json()["outcome"] == "pending"
