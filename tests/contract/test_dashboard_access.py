"""The view meeting_dashboard through the real PostgREST: everybody sees their own meetings, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.support import project_keys
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import add_user
from tests.support.supabase_stack import SupabaseStack, supabase_stack


@pytest.fixture(scope="module")
def stack(server_dsn: str) -> Iterator[SupabaseStack]:
    with fresh_database(server_dsn) as dsn, supabase_stack(dsn) as stack:
        yield stack


@pytest.fixture(scope="module")
def users(stack: SupabaseStack) -> dict[str, UUID]:
    """Anna and Bert with two meetings each, by turns, and one meeting of the lab before them."""
    users = {name: add_user(stack.dsn) for name in ("anna", "bert")}
    with psycopg.connect(stack.owner_dsn, autocommit=True) as connection:
        connection.execute("insert into public.meetings (title, audio_path) values ('lab', 'lab/a.wav')")
        for title, owner in (("anna 1", "anna"), ("bert 1", "bert"), ("anna 2", "anna"), ("bert 2", "bert")):
            user_id = users[owner]
            connection.execute(
                "insert into public.meetings (title, user_id, audio_path) values (%s, %s, %s)",
                [title, user_id, f"{user_id}/a.wav"],
            )
    return users


def ask(
    stack: SupabaseStack, token: str, query: str = "", *, method: str = "GET", path: str = "meeting_dashboard"
) -> httpx.Response:
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token}"}
    return httpx.request(method, f"{stack.url}/rest/v1/{path}{query}", headers=headers, json={"title": "changed"})


def lines(stack: SupabaseStack, token: str) -> list[tuple[str, int]]:
    answer = ask(stack, token, "?order=queue_position")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return [(row["title"], row["queue_position"]) for row in rows]


@pytest.mark.parametrize(
    ("name", "seen"), [("anna", [("anna 1", 2), ("anna 2", 4)]), ("bert", [("bert 1", 3), ("bert 2", 5)])]
)
def test_a_user_sees_own_meetings_and_how_many_are_ahead(
    stack: SupabaseStack, users: dict[str, UUID], name: str, seen: list[tuple[str, int]]
) -> None:
    """Everybody's meetings count for the position; only one's own are shown."""
    assert lines(stack, project_keys.user_token(users[name])) == seen


def test_a_user_without_meetings_sees_an_empty_dashboard(stack: SupabaseStack, users: dict[str, UUID]) -> None:
    """Not an error."""
    assert lines(stack, project_keys.user_token(uuid4())) == []


def test_the_service_key_sees_all(stack: SupabaseStack, users: dict[str, UUID]) -> None:
    """The lab's too."""
    titles = ["lab", "anna 1", "bert 1", "anna 2", "bert 2"]
    assert lines(stack, stack.service_key) == [(title, number) for number, title in enumerate(titles, 1)]


@pytest.mark.parametrize("who", ["anon", "worker"])
def test_nobody_else_may_look(stack: SupabaseStack, users: dict[str, UUID], who: str) -> None:
    """Neither who is not signed in, nor a lab PC."""
    answer = ask(stack, stack.anon_key if who == "anon" else stack.worker_token)
    assert answer.status_code in (401, 403)
    assert answer.json()["code"] == "42501"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_the_dashboard_is_for_reading(stack: SupabaseStack, users: dict[str, UUID], method: str) -> None:
    """Not even the service key may write through it."""
    before = lines(stack, stack.service_key)
    assert ask(stack, stack.service_key, "?title=eq.lab", method=method).is_error
    assert lines(stack, stack.service_key) == before


def test_only_reading_is_granted(stack: SupabaseStack) -> None:
    """To those two roles, by name; Supabase's default privileges are taken back."""
    with psycopg.connect(stack.dsn) as connection:
        rows = connection.execute(
            "select grantee, privilege_type from information_schema.role_table_grants"
            " where table_name = 'meeting_dashboard' and grantee <> 'project_owner'"
        )
        assert set(rows) == {("authenticated", "SELECT"), ("service_role", "SELECT")}


@pytest.mark.parametrize("function", ["outlook", "queue_positions", "worker_names", "next_starts"])
def test_the_machinery_cannot_be_called(stack: SupabaseStack, users: dict[str, UUID], function: str) -> None:
    """PostgREST does not know its schema, and who signed in may not use it in SQL either."""
    token = project_keys.user_token(users["anna"])
    assert ask(stack, token, method="POST", path=f"rpc/{function}").status_code == 404
    with psycopg.connect(stack.dsn) as connection:
        connection.execute("set role authenticated")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema pc_worker"):
            connection.execute(f"select pc_worker.{function}()".encode())


def test_the_view_reads_with_its_readers_rights(stack: SupabaseStack) -> None:
    """As Supabase's security advisor asks for."""
    with psycopg.connect(stack.dsn) as connection:
        found = connection.execute("select reloptions from pg_class where oid = 'public.meeting_dashboard'::regclass")
        assert found.fetchone() == (["security_invoker=true"],)
