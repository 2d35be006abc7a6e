"""What only PostgREST can show: it is killed, it freezes, it cuts lists, its database goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.embedded_postgres import reachable_directory
from tests.support.queue_values import failure, result, segment, worker_info
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.supabase_world import SupabaseWorld, supabase_world
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.store_supabase import NUM_TRIES, SupabaseStore
from worker.exceptions import SupabaseConnectionError
from worker.models import Beat, BeatAnswer, Claim, MeetingStatus, NewMeeting, Word, WorkerInfo
from worker.ports import Store


@pytest.fixture
async def project(shaken_stack: SupabaseStack) -> AsyncIterator[SupabaseWorld]:
    """As a lab PC sees it that holds no master key."""
    async with supabase_world(shaken_stack, "worker") as world:
        yield world
        assert world.broken_invariants() == []


# --- lists -------------------------------------------------------------------------------------------------------


async def test_a_meeting_of_more_than_a_thousand_segments_is_read_whole(project: SupabaseWorld) -> None:
    """PostgREST would cut a list of rows."""
    w1 = await project.worker()
    meeting_id = await project.enqueue()
    claim = await project.claim(w1)
    texts = [f"passage {index}" for index in range(2500)]
    await project.store.complete(meeting_id, claim.token, result(*texts))
    assert await project.texts(meeting_id) == texts


async def test_more_than_a_thousand_meetings_are_listed(project: SupabaseWorld) -> None:
    """In order and each once, although several were inserted at one moment; and no more than asked for."""
    project.edit(
        "insert into public.meetings (title, created_at)"
        " select n, timestamptz '2026-01-01' + n / 7 * interval '1 microsecond' from generate_series(1, 2300) n"
    )
    newest_first = [row["id"] for row in project.rows("select id from public.meetings order by created_at desc, id")]
    assert [meeting.id for meeting in await project.store.meetings(limit=5000)] == newest_first
    assert [meeting.id for meeting in await project.store.meetings(limit=1500)] == newest_first[:1500]
    cancelled = set(newest_first[::2])
    project.edit("update public.meetings set status = 'cancelled' where id = any (%s)", list(cancelled))
    listed = await project.store.meetings(MeetingStatus.CANCELLED, limit=5000)
    assert [meeting.id for meeting in listed] == [each for each in newest_first if each in cancelled]


# --- PostgREST dies ----------------------------------------------------------------------------------------------


async def test_postgrest_killed_between_calls_is_an_outage_and_no_more(project: SupabaseWorld) -> None:
    """The gateway answers with a page of its own until it is back; nothing needs to be opened anew."""
    meeting_id = await project.enqueue()
    postgrest = project.stack.postgrest
    postgrest.kill()
    try:
        with pytest.raises(SupabaseConnectionError):
            await project.store.status()
    finally:
        await asyncio.to_thread(postgrest.start)
    assert [meeting.id for meeting in await project.store.meetings()] == [meeting_id]


async def beat(store: Store, info: WorkerInfo, claim: Claim, _: UUID) -> BeatAnswer:
    line = Beat(meeting_id=claim.meeting.id, token=claim.token)
    return (await store.heartbeat(info.worker_id, info.instance_id, [line])).jobs[0]


Call = Callable[[Store, WorkerInfo, Claim, UUID], Coroutine[Any, Any, Any]]

CALLS: dict[str, tuple[Call, set[str]]] = {
    "claim": (lambda store, w1, _, claim_id: store.claim(w1.worker_id, w1.instance_id, claim_id), {"claimed"}),
    "heartbeat": (beat, {"ok"}),
    "complete": (
        lambda store, _, claim, __: store.complete(claim.meeting.id, claim.token, result("once")),
        {"completed", "already_done"},
    ),
    "fail": (
        lambda store, _, claim, __: store.fail(claim.meeting.id, claim.token, failure()),
        {"retrying", "already_done"},
    ),
    "release": (lambda store, _, claim, __: store.release(claim.meeting.id, claim.token), {"released", "already_done"}),
}


@pytest.mark.parametrize("name", CALLS)
async def test_postgrest_killed_in_the_middle_of_a_call(project: SupabaseWorld, name: str) -> None:
    """The database goes on and the answer is lost: the call is repeated and gets the answer to what was done once."""
    w1 = await project.worker()
    held, other = await project.enqueue("held"), await project.enqueue("other")
    claim, claim_id = await project.claim(w1), uuid4()
    call, expected = CALLS[name]
    with psycopg.connect(project.dsn) as editor:
        editor.execute("lock table pc_worker.jobs in exclusive mode")
        calling: asyncio.Task[Any] = asyncio.create_task(call(project.store, w1, claim, claim_id))
        await until(lambda: bool(project.rows("select from pg_stat_activity where wait_event_type = 'Lock'")))
        project.stack.postgrest.kill()
    await asyncio.to_thread(project.stack.postgrest.start)
    with contextlib.suppress(SupabaseConnectionError):  # it was faster with its three tries than PostgREST
        assert (await calling).outcome in expected
    assert (await call(project.store, w1, claim, claim_id)).outcome in expected
    assert claim.meeting.id == held
    assert [attempt.attempt for attempt in project.attempts(held)] == [1]
    assert [attempt.attempt for attempt in project.attempts(other)] == ([1] if name == "claim" else [])


async def test_meetings_go_through_once_while_postgrest_is_killed_again_and_again(project: SupabaseWorld) -> None:
    """Twenty meetings, three workers, a kill every few requests: all are completed, each by one attempt."""
    ids = {str(number): await project.enqueue(str(number)) for number in range(20)}
    finished = asyncio.Event()
    killing = asyncio.create_task(keep_killing(project.stack, finished))
    try:
        await asyncio.gather(*(work(project.another_store(), worker_info(f"w{number}")) for number in range(3)))
    finally:
        finished.set()
        num_kills = await killing
    assert num_kills > 5
    for title, meeting_id in ids.items():
        assert await project.texts(meeting_id) == [title]
        assert [attempt.outcome for attempt in project.attempts(meeting_id)] == ["completed"]


async def keep_killing(stack: SupabaseStack, finished: asyncio.Event) -> int:
    """How often it was killed: each time while some calls are under way."""
    random, num_kills = Random(20), 0
    while True:
        enough = stack.gateway.num_requests + random.randint(3, 15)
        while stack.gateway.num_requests < enough and not finished.is_set():
            await asyncio.sleep(0.001)
        if finished.is_set():
            return num_kills
        stack.postgrest.kill()
        num_kills += 1
        await asyncio.to_thread(stack.postgrest.start)


async def work(store: Store, info: WorkerInfo) -> None:
    """A worker's calls from the first to the last, each repeated until it gets through."""
    await insisted(store.register, info)
    while True:
        claim = (await insisted(store.claim, info.worker_id, info.instance_id, uuid4())).claim
        if claim is None:
            return
        beat = Beat(meeting_id=claim.meeting.id, token=claim.token)
        for _ in range(3):
            answer = await insisted(store.heartbeat, info.worker_id, info.instance_id, [beat])
            assert [job.outcome for job in answer.jobs] == ["ok"]
        written = await insisted(store.complete, claim.meeting.id, claim.token, result(claim.meeting.title or ""))
        assert written.outcome in ("completed", "already_done")


async def insisted(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """The answer to the same call again and again."""
    while True:
        with contextlib.suppress(SupabaseConnectionError):
            return await call(*arguments)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


# --- PostgREST is silent -----------------------------------------------------------------------------------------


async def test_a_frozen_postgrest_is_given_up_and_found_again(project: SupabaseWorld) -> None:
    """Connections stay open and nothing comes: each try ends at its timeout, and the next call uses none of them."""
    stack = project.stack
    store = SupabaseStore(stack.url, stack.service_key, call_timeout_s=0.2)
    await store.status()
    stack.postgrest.freeze()
    try:
        before = stack.gateway.num_requests
        with pytest.raises(SupabaseConnectionError):
            await store.status()
        assert stack.gateway.num_requests - before == NUM_TRIES
    finally:
        stack.postgrest.freeze(frozen=False)
    assert (await store.cancel(uuid4())).outcome == "gone"
    await store.close()


async def test_a_cancelled_call_does_not_spoil_the_next(project: SupabaseWorld) -> None:
    """A worker that must leave cancels its calls."""
    meeting_id = await project.enqueue()
    with psycopg.connect(project.dsn) as editor:
        editor.execute("select from public.meetings where id = %s for update", [meeting_id])
        call = asyncio.create_task(project.store.cancel(meeting_id))
        await until(lambda: bool(project.rows("select from pg_stat_activity where wait_event_type = 'Lock'")))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (await project.store.cancel(meeting_id)).outcome in ("cancelled", "already_done")


# --- the database behind it dies ---------------------------------------------------------------------------------


async def test_the_database_restarted_behind_postgrest_is_an_outage_and_no_more() -> None:
    """503 while it is away; PostgREST finds it again by itself, and so do we."""
    with reachable_directory() as directory:
        server = EmbeddedPostgres(directory, durable=False)
        try:
            with supabase_stack(server.start()) as stack:
                store, w1 = SupabaseStore(stack.url, stack.service_key), worker_info()
                await store.register(w1)
                meeting_id = await store.enqueue(NewMeeting(title="t", audio_path="lab/a.wav"))
                await asyncio.to_thread(server.stop)
                with pytest.raises(SupabaseConnectionError) as caught:
                    await store.status()
                assert caught.value.details["status"] == 503
                await asyncio.to_thread(server.start)
                claim = (await insisted(store.claim, w1.worker_id, w1.instance_id, uuid4())).claim
                assert claim is not None
                assert claim.meeting.id == meeting_id
                await store.close()
        finally:
            server.stop()


# --- values ------------------------------------------------------------------------------------------------------


async def test_numbers_that_json_does_not_have_are_mended_not_lost(project: SupabaseWorld) -> None:
    """An engine's infinite confidence must not cost the transcript."""
    w1 = await project.worker()
    meeting_id = await project.enqueue()
    claim = await project.claim(w1)
    strange = Word(text="kept", start_s=0.0, end_s=1.0, confidence=float("inf"))
    done = result("x").model_copy(update={"segments": (segment(0, "kept").model_copy(update={"words": (strange,)}),)})
    assert (await project.store.complete(meeting_id, claim.token, done)).outcome == "completed"
    assert (await project.detail(meeting_id)).segments[0].words == (strange.model_copy(update={"confidence": None}),)
