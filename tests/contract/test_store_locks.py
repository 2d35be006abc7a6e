"""Somebody holds a lock for long, or changes many rows in one statement: no lease is lost, and nobody is told off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.queue_values import result, worker_info
from tests.support.queue_worlds import PostgresWorld
from worker.models import Beat, Claim, MeetingStatus, NewMeeting, Stage, WorkerInfo

LONGER_THAN_A_LEASE_S = 330
NUM_STATEMENTS = 5


async def beat_on(world: PostgresWorld, holder: WorkerInfo, *claims: Claim) -> None:
    """For longer than a lease, with progress, as a worker does."""
    for second in range(0, LONGER_THAN_A_LEASE_S, 30):
        world.advance(30)
        for claim in claims:
            assert await world.beat(holder, claim, Stage.TRANSCRIBE, second / LONGER_THAN_A_LEASE_S) == "ok"


async def test_a_row_that_somebody_has_open_for_long_does_not_cost_its_lease(postgres: PostgresWorld) -> None:
    """Somebody began an edit in a SQL editor and went to lunch. Progress is not shown meanwhile; the lease goes on."""
    w1, w2 = await postgres.worker("w1"), await postgres.worker("w2", host="pc-2")
    await postgres.enqueue("edited")
    claim = await postgres.claim(w1)
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set title = 'better' where id = %s", [claim.meeting.id])
        await beat_on(postgres, w1, claim)
        assert await postgres.try_claim(w2) is None
        editor.commit()
    assert await postgres.try_claim(w2) is None, "nobody is robbed"
    assert await postgres.beat(w1, claim, Stage.ALIGN, 0.1) == "ok"
    assert (await postgres.store.complete(claim.meeting.id, claim.token, result("done"))).outcome == "completed"
    assert [attempt.outcome for attempt in postgres.attempts(claim.meeting.id)] == ["completed"]


async def test_a_heartbeat_does_not_wait_for_who_is_about_to_delete_its_meeting(postgres: PostgresWorld) -> None:
    """
    The deletion has the meeting and wants the job next. Two beats of one job in a call are a rare thing; but then the
    second one has the job's foreign key checked.
    """
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    beat = Beat(meeting_id=meeting_id, token=claim.token, stage=Stage.ALIGN, progress=0.5)
    with psycopg.connect(postgres.dsn) as person:
        person.execute("select from public.meetings where id = %s for update", [meeting_id])
        async with asyncio.timeout(20):
            answer = await postgres.store.heartbeat(w1.worker_id, w1.instance_id, [beat, beat])
    assert [job.outcome for job in answer.jobs] == ["ok", "ok"]


async def test_a_lease_that_ran_out_is_revived_by_the_first_beat_that_finds_its_meeting_free(
    postgres: PostgresWorld,
) -> None:
    w1, w2 = await postgres.worker("w1"), await postgres.worker("w2", host="pc-2")
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    await postgres.expire_leases()
    assert await postgres.try_claim(w2, min_wait_s=86400.0) is None, "it only looks"
    assert await postgres.status_of(meeting_id) is MeetingStatus.PENDING
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set title = 'better' where id = %s", [meeting_id])
        assert await postgres.beat(w1, claim, Stage.ALIGN, 0.5) == "ok"
        assert await postgres.try_claim(w2) is None
        editor.commit()
    assert await postgres.beat(w1, claim, Stage.ALIGN, 0.6) == "ok"
    assert await postgres.status_of(meeting_id) is MeetingStatus.PROCESSING
    assert postgres.broken_invariants() == []


async def test_a_row_that_somebody_has_open_holds_up_no_other_meeting(postgres: PostgresWorld) -> None:
    """Also where the machinery's own row is held, as by an edit of the priority."""
    w1, w2 = await postgres.worker("w1"), await postgres.worker("w2", host="pc-2")
    edited, free, pending = [await postgres.enqueue(title) for title in ("edited", "free", "pending")]
    claims = [await postgres.claim(w1) for _ in (edited, free)]
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set priority = 7 where id = %s", [edited])
        await beat_on(postgres, w1, *claims)
        other = await postgres.try_claim(w2)
        assert other is not None
        assert other.meeting.id == pending
        assert await postgres.try_claim(w2) is None
        sent = await postgres.store.complete(free, claims[1].token, result("done"))
        assert sent.outcome == "completed"
        editor.rollback()
    assert await postgres.status_of(edited) is MeetingStatus.PROCESSING


async def test_a_result_does_not_keep_its_meeting_from_who_has_the_people(postgres: PostgresWorld) -> None:
    """
    Somebody deletes many meetings in one transaction, and holds the owner's people from the first on. The result of one
    of the last waits for them, but not with its meeting in hand: that would be a deadlock, and might cost the deletion.
    """
    w1 = await postgres.worker()
    first, last = await postgres.enqueue("first"), await postgres.enqueue("last")
    claims = {claim.meeting.id: claim for claim in [await postgres.claim(w1) for _ in range(2)]}
    with psycopg.connect(postgres.dsn) as person:
        person.execute("delete from public.meetings where id = %s", [first])
        call = asyncio.create_task(postgres.store.complete(last, claims[last].token, result("late")))
        await until(lambda: is_waited_for(postgres))
        await until(lambda: is_free(postgres, last))
        assert not call.done()
        person.execute("delete from public.meetings where id = %s", [last])
    assert (await call).outcome == "gone"
    assert postgres.broken_invariants() == []


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def is_waited_for(world: PostgresWorld) -> bool:
    return bool(world.rows("select 1 as one from pg_stat_activity where wait_event_type = 'Lock'"))


async def is_free(world: PostgresWorld, meeting_id: UUID) -> bool:
    return bool(world.rows("select id from public.meetings where id = %s for update skip locked", meeting_id))


# --- many rows in one statement ----------------------------------------------------------------------------------

BULK = {
    "delete": "delete from public.meetings where id = any(%s)",
    "retry": "update public.meetings set status = 'pending' where id = any(%s) and status = 'completed'",
    "cancel": "update public.meetings set status = 'cancelled' where id = any(%s) and status ~ '^p'",
}


async def work(world: PostgresWorld, name: str, finished: asyncio.Event) -> int:
    """Claim, beat, complete, as fast as it goes; every error ends the test."""
    store, info, num_done = world.another_store(), worker_info(name, host=f"pc-{name}"), 0
    await store.register(info)
    while not finished.is_set():
        claim = (await store.claim(info.worker_id, info.instance_id, uuid4())).claim
        if claim is None:
            continue
        beat = Beat(meeting_id=claim.meeting.id, token=claim.token, stage=Stage.ALIGN, progress=0.5)
        await store.heartbeat(info.worker_id, info.instance_id, [beat])
        answer = await store.complete(claim.meeting.id, claim.token, result("text"))
        assert answer.outcome in ("completed", "cancelled", "gone", "lost")
        num_done += answer.outcome == "completed"
    return num_done


async def change_in_bulk(world: PostgresWorld, kind: str) -> None:
    """Slowly, so that results arrive while the statement holds its first rows and wants its last."""
    for _ in range(NUM_STATEMENTS):
        ids = [await world.store.enqueue(NewMeeting(title=kind, audio_path="lab/a.wav")) for _ in range(30)]
        await asyncio.sleep(0.1)  # some are claimed, some completed, some neither
        slowly = f"{BULK[kind]} and pg_sleep(0.05) is not null"
        async with await psycopg.AsyncConnection.connect(world.dsn) as person:
            await person.execute(slowly.encode(), [ids])


@pytest.mark.slow
@pytest.mark.parametrize("kind", BULK)
async def test_who_changes_many_meetings_at_once_and_the_workers_at_them_do_not_meet_in_a_deadlock(
    postgres: PostgresWorld, kind: str
) -> None:
    finished = asyncio.Event()
    workers = [asyncio.create_task(work(postgres, f"w{number}", finished)) for number in range(4)]
    try:
        await change_in_bulk(postgres, kind)
    finally:
        finished.set()
    assert sum(await asyncio.gather(*workers)) > 0
    assert postgres.broken_invariants() == []
