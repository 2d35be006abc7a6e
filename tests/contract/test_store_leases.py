"""How long a right to work lasts: heartbeat, expiry, salvage, outage. Holds for every store."""

from __future__ import annotations

from tests.support.queue_values import failure, result
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import FailureKind
from worker.models import Beat, MeetingStatus, Stage

# --- heartbeats --------------------------------------------------------------------------------------------------


async def test_a_heartbeat_shows_stage_and_progress(world: QueueWorld) -> None:
    """On the row that people watch."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    assert await world.beat(w1, claim, Stage.TRANSCRIBE, 0.256) == "ok"
    detail = await world.store.meeting(claim.meeting.id)
    assert detail is not None
    assert (detail.meeting.stage, detail.meeting.progress) == ("transcribe", 0.26)


async def test_an_unchanged_heartbeat_leaves_the_meeting_alone(world: QueueWorld) -> None:
    """Rows that people watch change only when there is something to see."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    await world.beat(w1, claim, Stage.ALIGN, 0.5)
    before = await world.store.meeting(claim.meeting.id)
    world.advance(30)
    await world.beat(w1, claim, Stage.ALIGN, 0.501)
    assert await world.store.meeting(claim.meeting.id) == before


async def test_heartbeats_keep_a_lease_for_as_long_as_they_come(world: QueueWorld) -> None:
    """Slow is not dead."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    for _ in range(40):
        world.advance(world.limits.heartbeat_s)
        assert await world.beat(w1, claim) == "ok"
    assert await world.try_claim(w2) is None
    assert world.job(claim.meeting.id).num_crashes == 0


async def test_one_heartbeat_speaks_for_all_jobs(world: QueueWorld) -> None:
    """And answers for each."""
    w1 = await world.worker()
    for title in "abc":
        await world.enqueue(title)
    claims = [await world.claim(w1) for _ in range(3)]
    await world.store.cancel(claims[1].meeting.id)
    world.delete_meeting(claims[2].meeting.id)
    beats = [Beat(meeting_id=claim.meeting.id, token=claim.token) for claim in claims]
    answer = await world.store.heartbeat(w1.worker_id, w1.instance_id, beats)
    assert [(job.meeting_id, job.token) for job in answer.jobs] == [(c.meeting.id, c.token) for c in claims]
    assert [job.outcome for job in answer.jobs] == ["ok", "cancelled", "gone"]


async def test_a_heartbeat_with_a_wrong_token_extends_nothing(world: QueueWorld) -> None:
    """Fencing holds for heartbeats too."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    beat = Beat(meeting_id=claim.meeting.id, token=claim.token + 100)
    assert (await world.store.heartbeat(w1.worker_id, w1.instance_id, [beat])).jobs[0].outcome == "lost"


# --- expiry and salvage ------------------------------------------------------------------------------------------


async def test_a_silent_workers_job_is_given_to_another(world: QueueWorld) -> None:
    """After lease and grace, as the second attempt."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    old = await world.claim(w1)
    await world.expire_leases()
    new = await world.claim(w2)
    assert (new.meeting.id, new.attempt) == (old.meeting.id, 2)
    assert [(past.worker_id, past.outcome, past.code) for past in world.attempts(old.meeting.id)] == [
        ("w1", "reaped", "lease_expired"),
        ("w2", None, None),
    ]


async def test_nothing_is_reaped_within_the_grace(world: QueueWorld) -> None:
    """The lease ended a moment ago: the holder's heartbeat may be on its way."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    await world.advance_with_fleet(world.limits.lease_s + world.limits.grace_s)
    assert await world.try_claim(w2) is None
    assert await world.beat(w1, claim) == "ok"


async def test_a_late_heartbeat_resurrects_while_nobody_reclaimed(world: QueueWorld) -> None:
    """The worker was cut off, not dead: no crash is counted and nobody else gets the job."""
    w1, w2, w3 = await world.worker("w1"), await world.worker("w2"), await world.worker("w3")
    await world.enqueue("slow")
    await world.enqueue("other", priority=-1)
    claim = await world.claim(w1)
    await world.expire_leases()
    await world.store.drain("w2", draining=True)
    assert await world.try_claim(w2) is None  # this reaps
    assert world.job(claim.meeting.id).state == "pending"
    assert await world.beat(w1, claim, Stage.ALIGN, 0.5) == "ok"
    assert await world.status_of(claim.meeting.id) is MeetingStatus.PROCESSING
    assert world.job(claim.meeting.id).num_crashes == 0
    assert [past.outcome for past in world.attempts(claim.meeting.id)] == [None]
    assert (await world.claim(w3)).meeting.title == "other"


async def test_a_late_complete_is_accepted_while_nobody_reclaimed(world: QueueWorld) -> None:
    """Hours of work survive a cut network."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    await world.expire_leases()
    await world.store.drain("w2", draining=True)
    await world.try_claim(w2)
    answer = await world.store.complete(claim.meeting.id, claim.token, result("saved"))
    assert answer.outcome == "completed"
    assert await world.texts(claim.meeting.id) == ["saved"]
    assert [past.outcome for past in world.attempts(claim.meeting.id)] == ["completed"]
    detail = await world.store.meeting(claim.meeting.id)
    assert detail is not None
    assert detail.meeting.processed_by == "w1"


async def test_a_late_complete_is_accepted_before_anybody_reaped(world: QueueWorld) -> None:
    """The lease ran out, but nobody looked."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    world.advance(7200)
    assert (await world.store.complete(claim.meeting.id, claim.token, result("saved"))).outcome == "completed"


async def test_a_stale_worker_is_fenced_once_somebody_reclaimed(world: QueueWorld) -> None:
    """None of its calls counts any more, and the new holder's result stands."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    meeting_id = await world.enqueue()
    old = await world.claim(w1)
    await world.expire_leases()
    new = await world.claim(w2)
    assert await world.beat(w1, old) == "lost"
    assert (await world.store.complete(meeting_id, old.token, result("stale"))).outcome == "lost"
    assert (await world.store.fail(meeting_id, old.token, failure())).outcome == "lost"
    assert (await world.store.release(meeting_id, old.token)).outcome == "lost"
    assert (await world.store.complete(meeting_id, new.token, result("fresh"))).outcome == "completed"
    assert (await world.store.complete(meeting_id, old.token, result("stale"))).outcome == "lost"
    assert await world.texts(meeting_id) == ["fresh"]


async def test_a_late_failure_counts_as_failure_not_as_crash(world: QueueWorld) -> None:
    """The holder lived and says what happened."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    await world.expire_leases()
    await world.store.drain("w2", draining=True)
    await world.try_claim(w2)
    assert (await world.store.fail(claim.meeting.id, claim.token, failure())).outcome == "retrying"
    job = world.job(claim.meeting.id)
    assert (job.num_failures, job.num_crashes, job.num_attempts) == (1, 0, 1)


async def test_a_late_release_refunds_although_it_was_reaped(world: QueueWorld) -> None:
    """A stop is not a crash, even when the message comes late."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    await world.expire_leases()
    await world.store.drain("w2", draining=True)
    await world.try_claim(w2)
    assert (await world.store.release(claim.meeting.id, claim.token)).outcome == "released"
    job = world.job(claim.meeting.id)
    assert (job.num_crashes, job.num_attempts, job.state) == (0, 0, "pending")


async def test_the_finished_result_of_a_killed_worker_is_accepted_after_its_restart(world: QueueWorld) -> None:
    """result.json is replayed with the old token, before or after registering, as long as nobody re-claimed."""
    before = await world.worker("w1")
    await world.enqueue()
    claim = await world.claim(before)
    await world.worker("w1")
    assert (await world.store.complete(claim.meeting.id, claim.token, result("replayed"))).outcome == "completed"
    assert world.job(claim.meeting.id).num_crashes == 0


async def test_two_lost_workers_make_a_recording_poison(world: QueueWorld) -> None:
    """That recording kills; it is not handed on to kill the next."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    meeting_id = await world.enqueue()
    for worker in (w1, w2):
        await world.claim(worker)
        await world.expire_leases()
    assert await world.try_claim(w1) is None
    detail = await world.store.meeting(meeting_id)
    assert detail is not None
    assert (detail.meeting.status, detail.meeting.error_code) == (MeetingStatus.FAILED, "poison")
    assert detail.meeting.error_message
    assert world.job(meeting_id).num_crashes == 2


async def test_a_worker_killed_twice_makes_its_recording_poison(world: QueueWorld) -> None:
    """The restart tells at once what expiry would have told later."""
    meeting_id = await world.enqueue()
    await world.claim(await world.worker("w1"))
    await world.claim(await world.worker("w1"))
    await world.worker("w1")
    assert await world.status_of(meeting_id) is MeetingStatus.FAILED


async def test_a_poisoned_recording_is_still_completed_by_its_living_holder(world: QueueWorld) -> None:
    """It was taken for dead and was not: the result is worth more than the verdict."""
    meeting_id = await world.enqueue()
    await world.claim(await world.worker("w1"))
    claim = await world.claim(await world.worker("w1"))
    await world.worker("w1")
    assert (await world.store.complete(meeting_id, claim.token, result("alive"))).outcome == "completed"
    detail = await world.store.meeting(meeting_id)
    assert detail is not None
    assert (detail.meeting.status, detail.meeting.error_code) == (MeetingStatus.COMPLETED, None)


async def test_nothing_is_reaped_right_after_an_outage(world: QueueWorld) -> None:
    """The whole fleet was silent: it was the database that was away, so all holders get one lease to come back."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    world.advance(4 * 3600)
    assert await world.try_claim(w2) is None
    await world.advance_with_fleet(world.limits.lease_s - 1)
    assert await world.try_claim(w2) is None
    assert await world.beat(w1, claim) == "ok"
    assert world.job(claim.meeting.id).num_crashes == 0


async def test_after_an_outage_and_one_lease_the_dead_are_reaped(world: QueueWorld) -> None:
    """The patience ends."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    meeting_id = await world.enqueue()
    await world.claim(w1)
    world.advance(4 * 3600)
    assert await world.try_claim(w2) is None
    await world.advance_with_fleet(world.limits.lease_s + 1)
    assert (await world.claim(w2)).meeting.id == meeting_id


async def test_a_crash_reported_in_time_is_counted_once(world: QueueWorld) -> None:
    """A worker that reports its child's crash and then falls silent has caused one crash, not two."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(claim.meeting.id, claim.token, failure(FailureKind.CRASH))
    await world.expire_leases()
    await world.claim(w2)
    assert world.job(claim.meeting.id).num_crashes == 1
