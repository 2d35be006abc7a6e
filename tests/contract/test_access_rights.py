"""
Every right that anybody but the owner has on anything of ours: the whole list.

What a later migration makes and forgets to close turns up here: new functions are open to PUBLIC, and Supabase's
default privileges open everything new to its API roles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from worker.adapters.migrate_postgres import migrate

AUTHENTICATED, SERVICE, WORKER = "authenticated", "service_role", "meeting_worker"
EVERY_ROW = "DELETE INSERT SELECT UPDATE"

RELATIONS: dict[str, dict[str, str]] = {
    "public.meetings": {AUTHENTICATED: "SELECT", SERVICE: EVERY_ROW},
    "public.speakers": {SERVICE: EVERY_ROW},  # users: all columns but the voiceprint
    "public.speaker_decisions": {AUTHENTICATED: "SELECT", SERVICE: "SELECT"},
    "public.transcript_segments": {AUTHENTICATED: "SELECT", SERVICE: EVERY_ROW},
    "public.meeting_speakers": {AUTHENTICATED: "SELECT", SERVICE: EVERY_ROW},
    "public.meeting_summaries": {AUTHENTICATED: "SELECT", SERVICE: EVERY_ROW},
    "public.meeting_summary_versions": {AUTHENTICATED: "SELECT", SERVICE: "SELECT"},
    "public.summary_guidance": {AUTHENTICATED: "DELETE SELECT", SERVICE: EVERY_ROW},
    "public.speaker_embeddings": {SERVICE: EVERY_ROW},
    "public.vocabulary": {AUTHENTICATED: "DELETE SELECT", SERVICE: EVERY_ROW},
    "public.meeting_dashboard": {AUTHENTICATED: "SELECT", SERVICE: "SELECT"},
    "public.meeting_speaking": {AUTHENTICATED: "SELECT", SERVICE: "SELECT"},
}
"""Tables and views; whatever is not named, in public or in pc_worker, sequences included, is its owner's alone."""

_INSERTED = (
    *("id", "user_id", "title", "audio_path", "audio_url", "language", "min_speakers", "max_speakers"),
    *("prompt", "hotwords", "channels", "priority", "status"),
)

_SPEAKER_SEEN = ("id", "user_id", "meeting_ids", "keeps_voice", "created_at", "updated_at")
_SUMMARY_TEXT = ("overview", "key_points", "decisions", "action_items", "open_questions", "topics")

COLUMNS: dict[str, dict[str, str]] = {
    **{f"public.meeting_summaries.{column}": {AUTHENTICATED: "UPDATE"} for column in _SUMMARY_TEXT},
    "public.transcript_segments.text": {AUTHENTICATED: "UPDATE"},
    "public.transcript_segments.speaker_label": {AUTHENTICATED: "UPDATE"},
    "public.summary_guidance.id": {AUTHENTICATED: "INSERT"},
    "public.summary_guidance.user_id": {AUTHENTICATED: "INSERT"},
    "public.summary_guidance.text": {AUTHENTICATED: "INSERT UPDATE"},
    **{f"public.meetings.{column}": {AUTHENTICATED: "INSERT"} for column in _INSERTED},
    "public.meetings.title": {AUTHENTICATED: "INSERT UPDATE"},
    "public.meetings.status": {AUTHENTICATED: "INSERT UPDATE"},
    **{f"public.speakers.{column}": {AUTHENTICATED: "SELECT"} for column in _SPEAKER_SEEN},
    "public.speakers.name": {AUTHENTICATED: "SELECT UPDATE"},
    "public.vocabulary.id": {AUTHENTICATED: "INSERT"},
    "public.vocabulary.user_id": {AUTHENTICATED: "INSERT"},
    "public.vocabulary.word": {AUTHENTICATED: "INSERT UPDATE"},
}

_MACHINES = {SERVICE: "EXECUTE", WORKER: "EXECUTE"}
_PEOPLE = {AUTHENTICATED: "EXECUTE", SERVICE: "EXECUTE"}

_ACTS = ("list", "decisions", "name", "merge", "split", "confirm", "reject", "undo", "forget", "keep_voice")

FUNCTIONS: dict[str, dict[str, str]] = {
    "public.worker_register_v1": _MACHINES,
    "public.worker_claim_v1": _MACHINES,
    "public.worker_heartbeat_v1": _MACHINES,
    "public.worker_heartbeat_v2": _MACHINES,
    "public.worker_complete_v1": _MACHINES,
    "public.worker_complete_v2": _MACHINES,
    "public.worker_fail_v1": _MACHINES,
    "public.worker_release_v1": _MACHINES,
    "public.worker_speakers_v1": _MACHINES,
    "public.worker_speakers_v2": _MACHINES,
    "public.worker_vocabulary_v1": _MACHINES,
    "public.worker_drain_v1": _MACHINES,
    "public.worker_status_v1": _MACHINES,
    "public.worker_status_v2": _MACHINES,
    "public.worker_schema_v1": _MACHINES,
    "public.meeting_cancel_v1": _PEOPLE,
    "public.meeting_retry_v1": _PEOPLE,
    "public.meeting_retry_v2": _PEOPLE,
    "public.worker_guidance_v1": _MACHINES,
    "public.worker_statuses_v1": _MACHINES,
    "public.guidance_get_v1": {SERVICE: "EXECUTE"},
    "public.guidance_set_v1": {SERVICE: "EXECUTE"},
    "public.meeting_summarize_v1": {SERVICE: "EXECUTE"},
    "public.summary_backlog_v1": {SERVICE: "EXECUTE"},
    "public.vocabulary_list_v1": {SERVICE: "EXECUTE"},
    "public.vocabulary_add_v1": {SERVICE: "EXECUTE"},
    "public.vocabulary_remove_v1": {SERVICE: "EXECUTE"},
    "public.meeting_detail_v1": _PEOPLE,  # with the caller's own rights
    "public.meeting_detail_v2": _PEOPLE,
    **{f"public.speaker_{act}_v1": _PEOPLE for act in _ACTS},
    "public.speaker_stale_v1": {SERVICE: "EXECUTE"},
    "public.speaker_refresh_v1": {SERVICE: "EXECUTE"},
    # called by policies and by the view with the caller's rights, by name by nobody: there is no usage on pc_worker
    "pc_worker.is_path_refused": {AUTHENTICATED: "EXECUTE"},
    "pc_worker.outlook": _PEOPLE,
    "pc_worker.worker_names": _PEOPLE,
}

_GRANTED = """
with acls as (
    select 'relation' as kind, c.oid::regclass::text as name, coalesce(c.relacl, acldefault('r', c.relowner)) as acl,
           c.relowner as owner
      from pg_class c
     where c.relnamespace::regnamespace::text in ('public', 'pc_worker') and c.relkind in ('r', 'p', 'v', 'm', 'S')
    union all
    select 'column', a.attrelid::regclass || '.' || a.attname, a.attacl, c.relowner
      from pg_attribute a join pg_class c on c.oid = a.attrelid
     where c.relnamespace::regnamespace::text in ('public', 'pc_worker') and a.attacl is not null
    union all
    select 'function', p.pronamespace::regnamespace || '.' || p.proname,
           coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
      from pg_proc p where p.pronamespace::regnamespace::text in ('public', 'pc_worker')
    union all
    select 'schema', n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner)), n.nspowner
      from pg_namespace n where n.nspname = 'pc_worker'
)
select kind, name, case when x.grantee = 0 then 'PUBLIC' else x.grantee::regrole::text end,
       string_agg(x.privilege_type || case when x.is_grantable then '*' else '' end, ' ' order by x.privilege_type)
  from acls cross join lateral aclexplode(acls.acl) x
 where x.grantee <> owner
 group by 1, 2, 3
"""


@pytest.fixture(scope="module")
def project(server_dsn: str) -> Iterator[psycopg.Connection]:
    """A migrated project; all that is in its schema public is ours."""
    with fresh_database(server_dsn) as dsn:
        migrate(make_project(dsn))
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("set search_path = ''")
            yield connection


def granted(connection: psycopg.Connection) -> dict[str, dict[str, dict[str, str]]]:
    """By kind and name: who has which rights."""
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for kind, name, grantee, rights in connection.execute(_GRANTED.encode()).fetchall():
        found[kind].setdefault(name, {})[grantee] = rights
    return found


def test_nobody_has_a_right_that_is_not_in_the_list(project: psycopg.Connection) -> None:
    """And everybody has those that are."""
    found = granted(project)
    assert found["relation"] == RELATIONS
    assert found["column"] == COLUMNS
    assert found["function"] == FUNCTIONS
    assert found["schema"] == {}


def test_every_table_has_row_level_security(project: psycopg.Connection) -> None:
    """A grant that somebody adds by hand opens no rows."""
    tables = project.execute(
        "select c.oid::regclass::text, c.relrowsecurity from pg_catalog.pg_class c"
        " where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('public', 'pc_worker')"
    ).fetchall()
    assert [name for name, is_secured in tables if not is_secured] == []
    assert len(tables) >= 12


def test_every_view_reads_with_its_readers_rights(project: psycopg.Connection) -> None:
    """A view that read with its owner's would show everybody everything."""
    views = project.execute(
        "select c.oid::regclass::text, c.reloptions from pg_catalog.pg_class c"
        " where c.relkind in ('v', 'm') and c.relnamespace::regnamespace::text in ('public', 'pc_worker')"
    ).fetchall()
    assert [name for name, options in views if "security_invoker=true" not in (options or [])] == []


def test_policies_name_their_roles(project: psycopg.Connection) -> None:
    """One `to public` would count for the role of a lab PC too; anon is named only where something is forbidden."""
    policies = project.execute(
        "select policyname, permissive, roles::text[] from pg_catalog.pg_policies"
        " where schemaname in ('public', 'pc_worker', 'storage')"
    ).fetchall()
    permitted = {role for _, kind, roles in policies if kind == "PERMISSIVE" for role in roles}
    assert permitted == {AUTHENTICATED, WORKER}
    assert {role for _, _, roles in policies for role in roles} == {AUTHENTICATED, WORKER, "anon"}


def test_a_new_function_that_is_not_closed_is_noticed(project: psycopg.Connection) -> None:
    """The list would be worth nothing otherwise."""
    with project.transaction(force_rollback=True):
        project.execute("set local role project_owner")
        project.execute("create function public.meeting_new_v1() returns int language sql as 'select 1'")
        project.execute("create view public.meeting_new as select 1 as one")
        found = granted(project)
        assert found["function"]["public.meeting_new_v1"].keys() >= {"PUBLIC", "anon", AUTHENTICATED, SERVICE}
        assert "anon" in found["relation"]["public.meeting_new"]
