"""When meeting_dashboard says that a meeting starts and ends: figures worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.contract.test_dashboard import estimate, row_of, shown
from tests.support.queue_values import failure, result
from tests.support.queue_worlds import PostgresWorld
from worker.exceptions import FailureKind
from worker.models import WorkerInfo


def now(world: PostgresWorld) -> datetime:
    at: datetime = world.rows("select pc_worker.now() as at")[0]["at"]
    return at


async def see(world: PostgresWorld, *workers: WorkerInfo) -> None:
    """Each of them calls, so that it is alive."""
    for worker in workers:
        await world.store.heartbeat(worker.worker_id, worker.instance_id, [])


async def history(world: PostgresWorld, *taken_s: float) -> None:
    """Meetings that went through and took so long, and their worker, which is long gone."""
    past = await world.worker("past")
    for seconds in taken_s:
        meeting_id = await world.enqueue()
        claim = await world.claim(past)
        world.advance(seconds)
        await world.store.complete(meeting_id, claim.token, result("done"))
    world.advance(world.limits.lease_s)


async def test_without_a_worker_it_says_since_when(postgres: PostgresWorld) -> None:
    """The last moment at which any was seen; a history does not help."""
    await history(postgres, 60, 60, 60, 60, 60)
    await postgres.worker("w1")
    last_seen_at = now(postgres)
    meeting_id = await postgres.enqueue()
    postgres.advance(postgres.limits.lease_s)
    assert shown(postgres, meeting_id) == {
        "status": "pending",
        "queue_position": 1,
        "estimate": "No worker is running.",
        "no_worker_since": last_seen_at,
    }


async def test_an_estimate_is_what_the_last_meetings_took(postgres: PostgresWorld) -> None:
    """
    Mean 300 s. One worker is 250 s into a meeting: those that took longer took 400 s on average, so 150 s are left.
    The other one is idle: they start the next ones after 0, 150, 300, 450 s.
    """
    await history(postgres, 100, 200, 300, 400, 500)
    w1 = await postgres.worker("w1")
    in_work = await postgres.enqueue()
    await postgres.claim(w1)
    postgres.advance(250)
    await see(postgres, w1, await postgres.worker("w2"))
    waiting = [await postgres.enqueue() for _ in range(4)]
    at = now(postgres)
    assert estimate(postgres, in_work) == "Done in about 2 minutes."
    assert row_of(postgres, in_work)["estimated_finish_at"] == at + timedelta(seconds=150)
    rows = [row_of(postgres, meeting_id) for meeting_id in waiting]
    starts_s = [(row["estimated_start_at"] - at).total_seconds() for row in rows]
    finishes_s = [(row["estimated_finish_at"] - at).total_seconds() for row in rows]
    assert (starts_s, finishes_s) == ([0, 150, 300, 450], [300, 450, 600, 750])
    assert [row["estimate"] for row in rows] == [
        "Starts within a minute.",
        "Starts in about 2 minutes.",
        "Starts in about 5 minutes.",
        "Starts in about 8 minutes.",
    ]


async def test_four_finished_meetings_are_too_few(postgres: PostgresWorld) -> None:
    """The fifth makes the difference."""
    await history(postgres, 60, 60, 60, 60)
    w1 = await postgres.worker("w1")
    in_work = await postgres.enqueue()
    claim = await postgres.claim(w1)
    meeting_id = await postgres.enqueue()
    assert estimate(postgres, meeting_id) == "Not enough finished meetings to tell."
    assert row_of(postgres, meeting_id)["estimated_start_at"] is None
    postgres.advance(160)
    await postgres.store.complete(in_work, claim.token, result("done"))
    await postgres.claim(w1)
    behind = await postgres.enqueue()
    assert row_of(postgres, behind)["estimated_start_at"] == now(postgres) + timedelta(seconds=80)


async def test_a_meeting_that_takes_longer_than_any_has_no_estimate(postgres: PostgresWorld) -> None:
    """Nor have those that wait for its worker."""
    await history(postgres, 60, 60, 60, 60, 60)
    w1 = await postgres.worker("w1")
    in_work = await postgres.enqueue()
    await postgres.claim(w1)
    behind = await postgres.enqueue()
    postgres.advance(61)
    await see(postgres, w1)
    assert estimate(postgres, in_work) == "Takes longer than the meetings before it."
    assert estimate(postgres, behind) == "Starts when a worker is free; those at work take longer than usual."
    assert row_of(postgres, behind)["estimated_start_at"] is None


async def test_what_took_long_ago_is_forgotten(postgres: PostgresWorld) -> None:
    """The last fifty count: a faster PC shows."""
    await history(postgres, *[5000] * 3, *[100] * 50)
    w1 = await postgres.worker("w1")
    in_work = await postgres.enqueue()
    await postgres.claim(w1)
    assert row_of(postgres, in_work)["estimated_finish_at"] == now(postgres) + timedelta(seconds=100)


async def test_only_completed_attempts_count(postgres: PostgresWorld) -> None:
    """A meeting that failed at once says nothing about how long one takes."""
    await history(postgres, 100, 100, 100, 100, 100)
    w1 = await postgres.worker("w1")
    failing = await postgres.enqueue()
    claim = await postgres.claim(w1)
    await postgres.store.fail(failing, claim.token, failure(FailureKind.PERMANENT))
    in_work = await postgres.enqueue()
    await postgres.claim(w1)
    assert row_of(postgres, in_work)["estimated_finish_at"] == now(postgres) + timedelta(seconds=100)


async def test_a_worker_with_two_meetings_counts_twice(postgres: PostgresWorld) -> None:
    """It has two places, which become free one after the other."""
    await history(postgres, 100, 100, 100, 100, 100)
    w1 = await postgres.worker("w1")
    for _ in range(2):
        await postgres.enqueue()
        await postgres.claim(w1)
        postgres.advance(40)
    waiting = [await postgres.enqueue() for _ in range(4)]
    starts = [row_of(postgres, meeting_id)["estimated_start_at"] - now(postgres) for meeting_id in waiting]
    assert [start.total_seconds() for start in starts] == [20, 60, 120, 160]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(61, "a minute"), (91, "2 minutes"), (5399, "90 minutes"), (5400, "2 hours"), (129_600, "2 days")],
)
async def test_spans_are_told_in_the_unit_that_people_would_use(
    postgres: PostgresWorld, seconds: int, words: str
) -> None:
    """Rounded: nothing here is exact."""
    assert postgres.rows("select pc_worker.span_in_words(%s) as words", seconds) == [{"words": words}]


async def test_a_place_that_drains_is_no_place(postgres: PostgresWorld) -> None:
    """The next meeting starts when the other worker is done, idle though the draining one is."""
    await history(postgres, 100, 100, 100, 100, 100)
    w1 = await postgres.worker("w1")
    await postgres.enqueue()
    await postgres.claim(w1)
    await postgres.worker("w2")
    await postgres.store.drain("w2", draining=True)
    behind = await postgres.enqueue()
    assert row_of(postgres, behind)["estimated_start_at"] == now(postgres) + timedelta(seconds=100)


async def test_a_place_whose_worker_is_gone_is_no_place(postgres: PostgresWorld) -> None:
    """Nor can anybody tell when its meeting is done."""
    await history(postgres, *[1000] * 5)
    w1 = await postgres.worker("w1")
    orphan = await postgres.enqueue()
    await postgres.claim(w1)
    postgres.advance(postgres.limits.lease_s)
    await postgres.worker("w2")
    behind = [await postgres.enqueue() for _ in range(2)]
    assert row_of(postgres, orphan)["estimated_finish_at"] is None
    starts = [row_of(postgres, meeting_id)["estimated_start_at"] - now(postgres) for meeting_id in behind]
    assert starts == [timedelta(0), timedelta(seconds=1000)]


async def test_many_meetings_on_few_places_all_get_an_estimate(postgres: PostgresWorld) -> None:
    """One place becomes free long before the other and takes them all until then."""
    await history(postgres, 100, 100, 100, 100, 1000)  # 280 s on average
    w1, w2 = await postgres.worker("w1"), await postgres.worker("w2")
    await postgres.enqueue()
    await postgres.claim(w1)
    postgres.advance(100)  # now only the longest one is like it: 900 s are left
    await see(postgres, w1, w2)
    waiting = [await postgres.enqueue() for _ in range(7)]
    starts = [row_of(postgres, meeting_id)["estimated_start_at"] - now(postgres) for meeting_id in waiting]
    assert [start.total_seconds() for start in starts] == [0, 280, 560, 840, 900, 1120, 1180]


async def test_meetings_that_took_no_time_stop_nobody(postgres: PostgresWorld) -> None:
    """They count as a second each."""
    await history(postgres, 0, 0, 0, 0, 0)
    await postgres.worker("w1")
    waiting = [await postgres.enqueue() for _ in range(3)]
    starts = [row_of(postgres, meeting_id)["estimated_start_at"] - now(postgres) for meeting_id in waiting]
    assert [start.total_seconds() for start in starts] == [0, 1, 2]
