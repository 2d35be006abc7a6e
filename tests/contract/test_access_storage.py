"""
Who may do what with the objects of the bucket: one line each.

Storage decides by the policies on storage.objects: it switches to the role of the caller's token, hands its claims to
the transaction, and tries the statement. Source: supabase/storage, src/internal/database/connection.ts (setScope).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.access_probe import A, B, ProbedProject, probed_project
from worker.audio_paths import split_audio_path

CLAIMS = {
    "anon": {"role": "anon"},
    "A": {"role": "authenticated", "sub": str(A)},
    "nameless": {"role": "authenticated"},
    "worker": {"role": "meeting_worker"},
    "service": {"role": "service_role"},
}

ALL = "select id from storage.objects"
OURS = f"{ALL} where bucket_id = 'meeting-audio'"


def named(name: str, bucket: str = "meeting-audio") -> str:
    return f"select id from storage.objects where bucket_id = '{bucket}' and name = '{name}'"


def upload(name: str, bucket: str = "meeting-audio") -> str:
    return f"insert into storage.objects (bucket_id, name) values ('{bucket}', '{name}') returning id"


def overwrite(name: str) -> str:
    """What an upload with x-upsert does."""
    return (
        f"insert into storage.objects (bucket_id, name) values ('meeting-audio', '{name}')"
        " on conflict (bucket_id, name) do update set version = '2' returning id"
    )


def change(what: str, name: str) -> str:
    return f"update storage.objects set {what} where bucket_id = 'meeting-audio' and name = '{name}' returning id"


def remove(name: str) -> str:
    return f"delete from storage.objects where bucket_id = 'meeting-audio' and name = '{name}' returning id"


OF_A, OF_B, OF_LAB = (f"{folder}/m1/audio.wav" for folder in (A, B, "lab"))

PROBES: list[tuple[str, str, int | str]] = [
    # who, what, how many rows it sees or changes
    ("anon", ALL, 0),
    ("anon", "select id from storage.buckets", 0),
    ("anon", upload("x.wav"), "refused"),
    ("anon", upload(f"{A}/x.wav"), "refused"),
    ("anon", remove(OF_A), 0),
    ("nameless", ALL, 0),
    ("nameless", upload("x.wav"), "refused"),
    ("nameless", upload("lab/x.wav"), "refused"),
    ("A", OURS, 1),
    ("A", ALL, 1),
    ("A", named(OF_A), 1),
    ("A", named(OF_B), 0),
    ("A", named(OF_LAB), 0),
    ("A", named(f"{A}/notes.txt", "other"), 0),
    ("A", upload(f"{A}/m9/audio.wav"), 1),
    ("A", upload(f"{A}/audio.wav"), 1),
    ("A", upload(f"{B}/m9/audio.wav"), "refused"),
    ("A", upload("lab/m9/audio.wav"), "refused"),
    ("A", upload("audio.wav"), "refused"),
    ("A", upload(f"{A}"), "refused"),
    ("A", upload(f"{A}x/audio.wav"), "refused"),
    ("A", upload(f"/{A}/audio.wav"), "refused"),
    ("A", upload(f"{A}/../{B}/audio.wav"), "refused"),
    ("A", upload(f"{A}/./audio.wav"), "refused"),
    ("A", upload(f"{A}/%2e%2e/{B}/audio.wav"), "refused"),
    ("A", upload(f"{A}//audio.wav"), "refused"),
    ("A", upload(f"{A}/m9/audio.wav", "other"), "refused"),
    ("A", overwrite(OF_A), "refused"),
    ("A", overwrite(OF_B), "refused"),
    ("A", change("version = '2'", OF_A), 0),
    ("A", change(f"name = '{B}/stolen.wav'", OF_A), 0),
    ("A", change("bucket_id = 'other'", OF_A), 0),
    ("A", change("version = '2'", OF_B), 0),
    ("A", remove(OF_A), 0),
    ("A", remove(OF_B), 0),
    ("A", upload("models/small/manifest.json"), "refused"),  # what lab PCs load as their models
    ("A", overwrite("models/small/manifest.json"), "refused"),
    ("A", "select id from storage.buckets", 0),
    ("A", "update storage.buckets set public = true returning id", 0),
    ("A", "insert into storage.buckets (id, name) values ('x', 'x')", "refused"),
    ("worker", OURS, 3),
    ("worker", ALL, 3),
    ("worker", named(OF_B), 1),
    ("worker", named(f"{B}/notes.txt", "other"), 0),
    ("worker", "select id from storage.buckets", 1),
    ("worker", "select id from storage.buckets where id = 'other'", 0),
    ("worker", upload("lab/m9/audio.wav"), "refused"),
    ("worker", upload("models/small/manifest.json"), "refused"),
    ("worker", upload("x.wav", "other"), "refused"),
    ("worker", overwrite(OF_LAB), "refused"),
    ("worker", change("version = '2'", OF_LAB), "refused"),
    ("worker", remove(OF_LAB), "refused"),
    ("worker", "update storage.buckets set public = true returning id", "refused"),
    ("worker", "insert into storage.buckets (id, name) values ('x', 'x')", "refused"),
    ("worker", "select id from auth.users", "refused"),
    ("service", ALL, 5),
    ("service", upload("lab/m9/audio.wav"), 1),
    ("service", upload("models/small/manifest.json"), 1),
    ("service", overwrite(OF_LAB), 1),
    ("service", remove(OF_B), 1),
]

CARELESS = """
create policy "careless" on storage.objects for all to public using (true) with check (true);
grant all on storage.objects to anon, authenticated;
"""

CARELESS_PROBES: list[tuple[str, str, int | str]] = [
    ("anon", OURS, 0),
    ("anon", upload("x.wav"), "refused"),
    ("anon", remove(OF_A), 0),
    ("anon", named(f"{B}/notes.txt", "other"), 1),  # the project's own business
    ("A", OURS, 1),
    ("A", named(OF_B), 0),
    ("A", upload(f"{B}/m9/audio.wav"), "refused"),
    ("A", upload("models/small/manifest.json"), "refused"),
    ("anon", upload("models/small/manifest.json"), "refused"),
    ("A", change(f"name = '{B}/stolen.wav'", OF_A), "refused"),
    ("A", overwrite(OF_B), "refused"),
    ("A", remove(OF_B), 0),
    ("A", named(f"{B}/notes.txt", "other"), 1),
    ("worker", remove(OF_LAB), "refused"),
]


@pytest.fixture(scope="module")
def project(server_dsn: str) -> Iterator[ProbedProject]:
    with probed_project(server_dsn) as probed:
        yield probed


def rows_of(connection: psycopg.Connection, who: str, statement: str) -> int | str:
    claims = CLAIMS[who]
    connection.execute(
        "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
        [claims["role"], json.dumps(claims)],
    )
    try:
        return connection.execute(statement.encode()).rowcount
    except InsufficientPrivilege:
        return "refused"


@pytest.mark.parametrize(("who", "statement", "expected"), PROBES)
def test_storage_lets_everyone_at_their_own_objects_only(
    project: ProbedProject, who: str, statement: str, expected: int | str
) -> None:
    """Users upload and read in their folder, the worker reads the bucket, the service key does everything."""
    project.stand_anew()
    with project.admin.transaction(force_rollback=True):
        assert rows_of(project.admin, who, statement) == expected


@pytest.mark.parametrize(("who", "statement", "expected"), CARELESS_PROBES)
def test_a_careless_policy_of_the_project_does_not_open_the_bucket(
    project: ProbedProject, who: str, statement: str, expected: int | str
) -> None:
    """Policies add up; the one that limits holds against all others."""
    project.stand_anew()
    with project.admin.transaction(force_rollback=True):
        project.admin.execute(CARELESS.encode())
        assert rows_of(project.admin, who, statement) == expected


def test_the_rule_for_paths_refuses_whatever_the_worker_would_refuse(project: ProbedProject) -> None:
    """A path that passes the policy is one that the worker's own rule takes, and lies in the owner's folder."""
    odd = ["a.wav", "b/a b.wav", "", ".", "..", "a/../b", "./a", "a//b", "a\\b", "a%2e", "a\x07", "/", "a/", "..a/b.."]
    for rest in odd:
        path = f"{A}/{rest}"
        ((is_refused,),) = project.admin.execute("select pc_worker.is_path_refused(%s, %s)", [A, path]).fetchall()
        assert is_refused or split_audio_path(path)[0] == str(A)
        assert is_refused == (rest not in {"a.wav", "b/a b.wav", "..a/b.."}), rest
