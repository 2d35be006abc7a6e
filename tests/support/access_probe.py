"""
Forbidden and allowed acts on a project, over its address, and what they changed.

The rows stand anew before each act: two users, A and B, and the lab, each with meetings, results, voices and objects.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import psycopg
from psycopg import sql

from tests.support import project_keys
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_stack import SupabaseStack, supabase_stack

A, B = (UUID(f"{letter * 8}-{letter * 4}-4{letter * 3}-8{letter * 3}-{letter * 12}") for letter in "ab")
"""Two signed-in users."""


def _meetings(letter: str) -> tuple[UUID, UUID, UUID]:
    pending, running, done = (UUID(f"{letter}0000000-0000-4000-8000-00000000000{number}") for number in (1, 2, 3))
    return pending, running, done


A_PENDING, A_RUNNING, A_DONE = _meetings("a")
B_PENDING, B_RUNNING, B_DONE = _meetings("b")
LAB_PENDING, LAB_RUNNING, LAB_DONE = _meetings("c")
A_VOICE, B_VOICE, LAB_VOICE = (UUID(f"{letter}0000000-0000-4000-8000-0000000000ff") for letter in "abc")
MISSING = UUID(int=0)


def _owned(owner: str, folder: str, meetings: tuple[UUID, UUID, UUID], voice: UUID, token: int) -> str:
    """What one owner has: a meeting that waits, one in work, one done with its results, a voice, an object."""
    pending, running, done = meetings
    return f"""
insert into public.meetings (id, user_id, title, audio_path, status, completed_at)
values ('{pending}', {owner}, 'pending', '{folder}/m1/audio.wav', 'pending', null),
       ('{running}', {owner}, 'running', '{folder}/m2/audio.wav', 'processing', null),
       ('{done}', {owner}, 'done', '{folder}/m3/audio.wav', 'completed', now());
insert into pc_worker.jobs (meeting_id, state, priority, run_at, num_attempts, token, lease_expires_at)
values ('{pending}', 'pending', 0, now(), 0, null, null), ('{done}', 'completed', 0, now(), 1, null, null),
       ('{running}', 'processing', 0, now(), 1, {token}, now() + interval '1 hour');
insert into pc_worker.job_attempts (token, meeting_id, attempt, worker_id, instance_id, started_at)
values ({token}, '{running}', 1, 'w1', gen_random_uuid(), now());
insert into public.speakers (id, user_id, name, embedding, meeting_ids)
values ('{voice}', {owner}, 'a name', '[1]', array['{done}'::uuid]);
insert into public.transcript_segments (meeting_id, segment_index, start_s, end_s, speaker_id, speaker_label, text)
values ('{done}', 0, 0, 1, '{voice}', 'SPEAKER_00', 'what was said');
insert into public.meeting_speakers (meeting_id, label, speaker_id) values ('{done}', 'SPEAKER_00', '{voice}');
insert into pc_worker.speaker_versions (user_id, version) values ({owner}, 1);
insert into pc_worker.voices (user_id, meeting_id, label, home, speaker_id)
values ({owner}, '{done}', 'SPEAKER_00', '{voice}', '{voice}');
insert into public.speaker_decisions (user_id, kind, speaker_id, name, decided_by)
values ({owner}, 'named', '{voice}', 'a name', 'table');
insert into public.speaker_embeddings (speaker_id, meeting_id, label, model, dim, embedding, voice_id)
select '{voice}', '{done}', 'SPEAKER_00', 'ge2e', 1, '[1]', id from pc_worker.voices where meeting_id = '{done}';
insert into public.meeting_summaries (meeting_id, overview, method) values ('{done}', 'in short', 'extractive');
insert into public.meeting_summary_versions (meeting_id, version, overview, replaced_at, replaced_by)
values ('{done}', 0, 'before', now(), 'worker:w1');
insert into public.summary_guidance (user_id, text) values ({owner}, 'briefly');
insert into public.vocabulary (user_id, word)
select {owner}, case '{folder}' when '{A}' then 'of A' when '{B}' then 'of B' else 'of the lab' end;
insert into storage.objects (bucket_id, name) values ('meeting-audio', '{folder}/m1/audio.wav');
"""


_ROWS = f"""
set session_replication_role = replica;  -- as it is, without what the triggers make of it
truncate public.meetings, public.speakers, public.transcript_segments, public.meeting_speakers,
    public.speaker_embeddings, public.speaker_decisions, pc_worker.voices, pc_worker.voice_sums,
    pc_worker.speaker_versions,
    public.meeting_summaries, public.meeting_summary_versions, public.summary_guidance, public.vocabulary,
    pc_worker.jobs, pc_worker.job_attempts, pc_worker.workers
    restart identity;
delete from storage.objects;
insert into auth.users (id) values ('{A}'), ('{B}') on conflict do nothing;
insert into storage.buckets (id, name) values ('other', 'other') on conflict do nothing;
insert into storage.objects (bucket_id, name) values ('other', '{A}/notes.txt'), ('other', '{B}/notes.txt');
insert into pc_worker.workers (worker_id, name, instance_id, hostname, machine_id, version, registered_at, last_seen_at)
values ('w1', 'PC 1', gen_random_uuid(), 'pc-1', 'm', '0', now(), now());
{_owned(f"'{A}'", str(A), (A_PENDING, A_RUNNING, A_DONE), A_VOICE, 1001)}
{_owned(f"'{B}'", str(B), (B_PENDING, B_RUNNING, B_DONE), B_VOICE, 1002)}
{_owned("null", "lab", (LAB_PENDING, LAB_RUNNING, LAB_DONE), LAB_VOICE, 1003)}
select setval('pc_worker.lease_tokens', 2000);
set session_replication_role = origin;
"""

Row = tuple[str, str]
"""A table and one of its rows as JSON."""


class ProbedProject:
    """A project with rows to attack, and eyes on every table."""

    def __init__(self, stack: SupabaseStack) -> None:
        self.admin = psycopg.connect(stack.dsn, autocommit=True)
        self._client = httpx.Client(base_url=f"{stack.url}/rest/v1/", timeout=20)
        tables = self.admin.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname in ('public', 'pc_worker', 'storage', 'auth')"
        ).fetchall()
        select = sql.SQL("select {}, to_jsonb(t)::text from {} t")
        self._everything = sql.SQL(" union all ").join(
            select.format(f"{schema}.{name}", sql.Identifier(schema, name)) for schema, name in tables
        )

    def close(self) -> None:
        self._client.close()
        self.admin.close()

    def stand_anew(self) -> None:
        self.admin.execute(_ROWS.encode())

    def rows(self) -> set[Row]:
        return set(self.admin.execute(self._everything).fetchall())

    def meetings_of(self, user_id: UUID) -> list[UUID]:
        return [
            row[0]
            for row in self.admin.execute("select id from public.meetings where user_id = %s", [user_id]).fetchall()
        ]

    def send(self, who: str, act: Act) -> httpx.Response:
        """Over the gateway and PostgREST, as a browser or a PC would."""
        key, bearer = credentials(who)
        headers = {"apikey": key, "Authorization": f"Bearer {bearer}"}
        if act.prefer:
            headers["Prefer"] = act.prefer
        if act.profile:
            headers |= {"Accept-Profile": act.profile, "Content-Profile": act.profile}
        return self._client.request(act.method, act.path, json=act.body, headers=headers)

    def probe(
        self, who: str, act: Act, expected: str, *, ignoring: str | None = None
    ) -> tuple[httpx.Response, set[Row]]:
        """
        The answer, and the rows that came, went or changed; none where `expected` says that nothing is written.

        `ignoring`: a table that every caller touches.
        """
        self.stand_anew()
        before = self.rows()
        answer = self.send(who, act)
        changed = {row for row in before ^ self.rows() if row[0] != ignoring}
        assert outcome(answer, changed=bool(changed)) == expected
        assert (expected == "writes") == bool(changed)
        return answer, changed


@contextlib.contextmanager
def probed_project(server_dsn: str) -> Iterator[ProbedProject]:
    """A project of one's own. About a second: share it."""
    with fresh_database(server_dsn) as dsn, supabase_stack(dsn) as stack:
        project = ProbedProject(stack)
        try:
            yield project
        finally:
            project.close()


def credentials(who: str) -> tuple[str, str]:
    """The API key and the bearer: a user of an app brings the anon key and a token of his or her own."""
    anon = project_keys.token("anon")
    bearers = {
        "anon": anon,
        "publishable": project_keys.PUBLISHABLE_KEY,
        "A": project_keys.user_token(A),
        "expired A": project_keys.user_token(A, expires_in_s=-60),
        "forged A": project_keys.token("authenticated", sub=str(A), secret="some other secret, also of 32 letters"),
        "nameless": project_keys.token("authenticated"),
        "worker": project_keys.token(project_keys.WORKER_ROLE),
        "service": project_keys.token("service_role"),
        "secret": project_keys.SECRET_KEY,
    }
    own_key = {"publishable", "service", "secret"}
    return (bearers[who] if who in own_key else anon), bearers[who]


# --- acts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    method: str
    path: str
    body: Any = None
    prefer: str = ""
    profile: str = ""

    def __str__(self) -> str:
        body = "" if self.body is None else f" {json.dumps(self.body, default=str)[:80]}"
        return f"{self.profile or ''} {self.method} {self.path}{body} {self.prefer}".strip()


def get(path: str, *, profile: str = "", prefer: str = "") -> Act:
    return Act("GET", path, profile=profile, prefer=prefer)


def post(path: str, body: Any, *, prefer: str = "return=representation") -> Act:
    return Act("POST", path, body, prefer)


def upsert(path: str, **row: Any) -> Act:
    return Act("POST", path, _plain(row), "resolution=merge-duplicates,return=representation")


def insert(**row: Any) -> Act:
    """One meeting, answered as it was stored."""
    return post("meetings", _plain(row))


def patch(path: str, **columns: Any) -> Act:
    return Act("PATCH", path, _plain(columns), "return=representation")


def delete(path: str) -> Act:
    return Act("DELETE", path, prefer="return=representation")


def rpc(function: str, *, profile: str = "", **parameters: Any) -> Act:
    return Act("POST", f"rpc/{function}", _plain(parameters), profile=profile)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}


# --- what came of it -------------------------------------------------------------------------------------------------

WORDS = {
    "42501": "refused",
    "P0001": "rejected",  # by a rule, in a sentence
    "23503": "rejected",
    "23505": "taken",
    "PGRST106": "unknown",  # schema
    "PGRST202": "unknown",  # function
    "PGRST200": "unknown",  # relationship
    "PGRST205": "unknown",  # table
    "42P01": "unknown",
    "PGRST108": "unknown",  # relation to sort by
    "PGRST123": "unknown",  # aggregate
    "PGRST301": "unauthenticated",
    "PGRST303": "unauthenticated",
}


def outcome(answer: httpx.Response, *, changed: bool) -> str:
    """One word for the answer and what it did; an answer that no word fits is returned whole."""
    body = answer.json() if answer.content else None
    if answer.is_success:
        if isinstance(body, dict) and body.get("outcome") == "gone":
            return "gone"
        if changed:
            return "writes"
        return "reads" if body else "nothing"
    return WORDS.get(body["code"] if isinstance(body, dict) else "", f"{answer.status_code} {answer.text}")
