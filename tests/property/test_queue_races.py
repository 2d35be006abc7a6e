"""The queue under real concurrency: many clients at once, no deadlock, and nothing unsound afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.queue_values import failure, result, worker_info
from tests.support.queue_worlds import PostgresWorld
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import Beat, Claim, MeetingStatus, NewMeeting, Stage, WorkerInfo
from worker.ports import Store

NUM_STEPS = 120


class BusyWorker:
    """Claims, works, loses answers, restarts; each with a connection of its own."""

    def __init__(self, name: str, store: Store, random: Random) -> None:
        self.name, self.store, self.random = name, store, random
        self.info: WorkerInfo = worker_info(name)
        self.held: list[Claim] = []
        self.completed: dict[int, UUID] = {}

    async def run(self) -> None:
        await self.store.register(self.info)
        acts = [self.claim] * 4 + [self.beat] * 3 + [self.complete] * 3 + [self.fail, self.release, self.restart]
        for _ in range(NUM_STEPS):
            await self.random.choice(acts)()

    async def claim(self) -> None:
        claim_id = uuid4()
        repeats = self.random.choice([1, 1, 2])
        answers = await asyncio.gather(
            *(self.store.claim(self.name, self.info.instance_id, claim_id) for _ in range(repeats))
        )
        self.held.extend(answer.claim for answer in answers if answer.claim)

    async def beat(self) -> None:
        beats = [
            Beat(meeting_id=claim.meeting.id, token=claim.token, stage=Stage.ALIGN, progress=self.random.random())
            for claim in self.held[-4:]
        ]
        await self.store.heartbeat(self.name, self.info.instance_id, beats)

    async def complete(self) -> None:
        if self.held:
            claim = self.random.choice(self.held)
            sent = result(*(f"{claim.token}/{number}" for number in range(3)))
            answer = await self.store.complete(claim.meeting.id, claim.token, sent)
            if answer.outcome == "completed":
                self.completed[claim.token] = claim.meeting.id

    async def fail(self) -> None:
        if self.held:
            claim = self.random.choice(self.held)
            await self.store.fail(claim.meeting.id, claim.token, failure(self.random.choice(list(FailureKind))))

    async def release(self) -> None:
        if self.held:
            claim = self.random.choice(self.held)
            await self.store.release(claim.meeting.id, claim.token)

    async def restart(self) -> None:
        self.info = worker_info(self.name)
        await self.store.register(self.info)


async def meddle(world: PostgresWorld, random: Random, *, in_bulk: bool) -> None:
    """
    People: enqueue, cancel, retry, edit by hand, correct, delete; and time passes.

    Only one of them edits many rows in one statement: two such statements lock rows in whatever order they find them,
    and can deadlock on each other in any database.
    """
    acts = ["cancel", "retry", "anew", "pending", "cancelled", "text", "delete", "time"] + ["bulk"] * in_bulk
    store = world.another_store()
    for _ in range(NUM_STEPS):
        seen = await store.meetings()
        if len(seen) < 6:
            await store.enqueue(NewMeeting(title="m", audio_path="lab/a.wav", priority=random.randrange(3)))
            continue
        meeting_id = random.choice(seen).id
        act = random.choice(acts)
        try:
            await one_act(world, store, act, meeting_id)
        except SupabaseQueryError as refusal:
            if "by hand" not in str(refusal) and "lost" not in str(refusal):
                raise


async def one_act(world: PostgresWorld, store: Store, act: str, meeting_id: UUID) -> None:
    if act == "cancel":
        await store.cancel(meeting_id)
    elif act == "retry":
        await store.retry(meeting_id, replace_edits=True)
    elif act == "anew":
        await store.retry(meeting_id, replace_edits=True, from_stage=Stage.DIARIZE)
    elif act in ("pending", "cancelled"):
        await asyncio.to_thread(world.edit_status, meeting_id, MeetingStatus(act))
    elif act == "text":
        await asyncio.to_thread(world.edit_text, meeting_id, 0, "better")
    elif act == "delete":
        await asyncio.to_thread(world.delete_meeting, meeting_id)
    elif act == "time":
        await asyncio.to_thread(world.advance, 59.0)
    else:
        await asyncio.to_thread(world.edit, "update public.meetings set priority = 1 - priority")


@pytest.fixture
def num_deadlocks(server_dsn: str) -> Iterator[list[int]]:
    """Filled after the sessions that could report one have ended."""
    counts: list[int] = []
    yield counts
    assert counts[-1] == counts[0], "Postgres had to break a deadlock"


def read_deadlocks(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_at_once_neither_deadlock_nor_tear(queue_dsn: str, num_deadlocks: list[int], seed: int) -> None:
    """Four workers and two people; whatever the order, every row is sound and every result is one worker's own."""
    num_deadlocks.append(read_deadlocks(queue_dsn))
    worlds = [PostgresWorld(queue_dsn) for _ in range(3)]
    worlds[0].empty()
    workers = [BusyWorker(f"w{i}", worlds[0].another_store(), Random(seed * 100 + i)) for i in range(4)]
    people = [meddle(world, Random(seed * 100 + 50 + i), in_bulk=i == 0) for i, world in enumerate(worlds[1:])]
    await asyncio.gather(*(worker.run() for worker in workers), *people)
    assert worlds[0].broken_invariants() == []
    check_results(worlds[0], workers)
    for world in worlds:
        await world.close()
    num_deadlocks.append(read_deadlocks(queue_dsn))


def check_results(world: PostgresWorld, workers: list[BusyWorker]) -> None:
    """Each transcript is whole and that of the attempt which completed last."""
    rows = world.rows(
        """
        select m.id, (select max(a.token) from pc_worker.job_attempts a
                       where a.meeting_id = m.id and a.outcome = 'completed') as token,
               array(select s.text from public.transcript_segments s where s.meeting_id = m.id order by s.segment_index)
               as texts
          from public.meetings m
        """
    )
    done = {token: meeting_id for worker in workers for token, meeting_id in worker.completed.items()}
    assert done, "the workers should have got something done"
    for row in rows:
        expected = [] if row["token"] is None else [f"{row['token']}/{number}" for number in range(3)]
        assert len(row["texts"]) == len(expected)
        assert row["texts"][1:] == expected[1:]  # the first may have been corrected by hand
        if row["token"] is not None:
            assert done[row["token"]] == row["id"]
