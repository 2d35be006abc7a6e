"""A result of ten hours passes through PostgREST under the statement timeout that Supabase gives its roles."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import pytest

from tests.support import project_keys
from tests.support.embedded_postgres import temporary_postgres
from tests.support.large_result import large_result
from tests.support.queue_values import worker_info
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from worker.adapters import store_wire
from worker.adapters.store_supabase import SupabaseStore
from worker.exceptions import SupabaseConnectionError
from worker.models import Claim, NewMeeting

PLAIN_COMPLETE = """
create function public.plain_complete_v1(p_meeting_id uuid, p_token bigint, p_result jsonb) returns jsonb
language sql security definer set search_path = ''
as $$ select public.worker_complete_v1(p_meeting_id, p_token, p_result) $$;
grant execute on function public.plain_complete_v1(uuid, bigint, jsonb) to meeting_worker;
"""
"""The same work in a statement without a time limit of its own."""


@pytest.fixture
def stack() -> Iterator[SupabaseStack]:
    """On a server of its own: settings of roles are the whole server's."""
    with temporary_postgres() as dsn, supabase_stack(dsn) as stack:
        yield stack


@pytest.fixture
async def claim(stack: SupabaseStack) -> Claim:
    people, w1 = SupabaseStore(stack.url, stack.service_key), worker_info()
    await people.register(w1)
    await people.enqueue(NewMeeting(title="ten hours", audio_path="lab/a.wav"))
    claim = (await people.claim(w1.worker_id, w1.instance_id, uuid4())).claim
    await people.close()
    assert claim is not None
    return claim


@pytest.mark.slow
async def test_a_result_of_25_megabytes_commits(
    stack: SupabaseStack, claim: Claim, record_property: Callable[[str, object], None]
) -> None:
    """As a lab PC, under the 8 s of its role; in memory there are the values, their JSON, and little more."""
    arguments = (stack.url, project_keys.PUBLISHABLE_KEY, stack.worker_token, str(claim.meeting.id), str(claim.token))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.large_result", *arguments, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    measured = json.loads(printed)
    for name, value in measured.items():
        record_property(name, value)
    print(measured)
    assert measured["outcome"] == "completed"
    assert measured["body_bytes"] > 25_000_000
    assert measured["peak_bytes"] < 6 * measured["body_bytes"]
    with psycopg.connect(stack.dsn) as connection:
        found = connection.execute("select sum(jsonb_array_length(words)) from public.transcript_segments").fetchone()
    assert found == (700_000,)


async def test_complete_brings_its_own_time_limit(stack: SupabaseStack, claim: Claim) -> None:
    """Where the role's is too short for the work: PostgREST applies the function's before the statement begins."""
    done = large_result(1000)
    with psycopg.connect(stack.owner_dsn, autocommit=True) as connection:
        connection.execute(PLAIN_COMPLETE)
    with psycopg.connect(stack.dsn, autocommit=True) as connection:
        connection.execute("alter role meeting_worker set statement_timeout = '50ms'")
    stack.postgrest.stop()
    await asyncio.to_thread(stack.postgrest.start)
    store = SupabaseStore(stack.url, project_keys.PUBLISHABLE_KEY, worker_token=stack.worker_token)
    payload = store_wire.result_payload(done)
    with pytest.raises(SupabaseConnectionError) as caught:
        await store.call("plain_complete_v1", p_meeting_id=claim.meeting.id, p_token=claim.token, p_result=payload)
    assert caught.value.details["answer_code"] == "57014"
    assert (await store.complete(claim.meeting.id, claim.token, done)).outcome == "completed"
    await store.close()
