"""
Every status into every other one, by hand, in every situation a meeting can be in.

What is allowed is a cancel or a retry, with all that follows from it; anything else is refused with a sentence, and
leaves no trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import failure, result, worker_info
from tests.support.queue_worlds import PostgresWorld, QueueWorld
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import Claim, MeetingStatus, Stage

PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = MeetingStatus

IN_SQL = pytest.mark.parametrize("world", ["memory", "postgres"], indirect=True)
"""Who calls over HTTP calls the same functions; who edits there, and as whom, is in test_edits_columns.py."""

Held = tuple[UUID, Claim | None]
"""A meeting, and the claim of whoever held it last; the claim may be long outdated."""


async def waiting(world: QueueWorld) -> Held:
    return await world.enqueue(), None


async def tried(world: QueueWorld) -> Held:
    return await ended(world, FailureKind.FAILURE)


async def waiting_for_audio(world: QueueWorld) -> Held:
    return await ended(world, FailureKind.WAITING)


async def failed(world: QueueWorld) -> Held:
    return await ended(world, FailureKind.PERMANENT)


async def ended(world: QueueWorld, kind: FailureKind) -> Held:
    meeting_id, claim = await at_work(world)
    assert claim is not None
    await world.store.fail(meeting_id, claim.token, failure(kind))
    return meeting_id, claim


async def at_work(world: QueueWorld) -> Held:
    await world.enqueue()
    info = await world.worker()
    claim = await world.claim(info)
    await world.beat(info, claim, Stage.DIARIZE, 0.5)
    return claim.meeting.id, claim


async def taken_for_dead(world: QueueWorld) -> Held:
    """Its lease ran out; its holder could still bring the result."""
    held = await at_work(world)
    await world.worker()
    return held


async def poison(world: QueueWorld) -> Held:
    await taken_for_dead(world)
    claim = await world.claim(await world.worker())
    await world.worker()
    return claim.meeting.id, claim


async def completed(world: QueueWorld) -> Held:
    meeting_id, claim = await at_work(world)
    assert claim is not None
    await world.store.complete(meeting_id, claim.token, result("old"))
    return meeting_id, claim


async def corrected(world: QueueWorld) -> Held:
    held = await completed(world)
    world.edit_text(held[0], 0, "better")
    return held


async def done_anew(world: QueueWorld) -> Held:
    """At work once more; the transcript of the first time is there."""
    meeting_id, _ = await completed(world)
    await world.store.retry(meeting_id)
    return meeting_id, await world.claim(await world.worker())


async def failed_anew(world: QueueWorld) -> Held:
    meeting_id, claim = await done_anew(world)
    assert claim is not None
    await world.store.fail(meeting_id, claim.token, failure(FailureKind.PERMANENT))
    return meeting_id, claim


async def cancelled(world: QueueWorld) -> Held:
    held = await at_work(world)
    await world.store.cancel(held[0])
    return held


Situation = Callable[[QueueWorld], Awaitable[Held]]

SITUATIONS: dict[Situation, MeetingStatus] = {
    waiting: PENDING,
    tried: PENDING,
    waiting_for_audio: PENDING,
    taken_for_dead: PENDING,
    at_work: PROCESSING,
    done_anew: PROCESSING,
    completed: COMPLETED,
    corrected: COMPLETED,
    failed: FAILED,
    failed_anew: FAILED,
    poison: FAILED,
    cancelled: CANCELLED,
}


@IN_SQL
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
async def test_every_status_into_every_other(world: QueueWorld, situation: Situation) -> None:
    """Five edits, each to a meeting of its own in that situation."""
    for wanted in MeetingStatus:
        meeting_id, claim = await situation(world)
        was = await world.status_of(meeting_id)
        assert was is SITUATIONS[situation]
        if wanted is CANCELLED and was in (PENDING, PROCESSING):
            await check_cancel(world, meeting_id, claim)
        elif wanted is PENDING and was in (COMPLETED, FAILED, CANCELLED) and situation is not corrected:
            await check_retry(world, meeting_id, claim)
        else:
            await check_nothing_changes(world, meeting_id, wanted, claim)
        assert not isinstance(world, PostgresWorld) or world.broken_invariants() == []
        world.delete_meeting(meeting_id)


async def check_nothing_changes(
    world: QueueWorld, meeting_id: UUID, wanted: MeetingStatus, claim: Claim | None
) -> None:
    """Refused with a sentence, unless it was so already. Whoever holds it goes on."""
    before = (await world.detail(meeting_id), world.job(meeting_id), world.attempts(meeting_id))
    was = before[0].meeting.status
    if wanted is was:
        world.edit_status(meeting_id, wanted)
    else:
        with pytest.raises(SupabaseQueryError, match=f"from {was} to {wanted} by hand|corrected by hand"):
            world.edit_status(meeting_id, wanted)
    after = (await world.detail(meeting_id), world.job(meeting_id), world.attempts(meeting_id))
    assert after == before
    if claim is not None and was is PROCESSING:
        assert (await world.store.complete(meeting_id, claim.token, result("new"))).outcome == "completed"


async def check_cancel(world: QueueWorld, meeting_id: UUID, claim: Claim | None) -> None:
    """Nobody may write any more, nobody takes it, nothing is said to be done with it; what was there before stays."""
    past, texts = world.attempts(meeting_id), await world.texts(meeting_id)
    world.edit_status(meeting_id, CANCELLED)
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.stage, meeting.progress, meeting.completed_at) == (CANCELLED, None, None, None)
    assert world.job(meeting_id).token is None
    if claim is not None:
        assert (await world.store.complete(meeting_id, claim.token, result("late"))).outcome in ("cancelled", "lost")
        assert (await world.store.complete(meeting_id, claim.token, result("late"))).is_lost
    assert await world.status_of(meeting_id) is CANCELLED
    assert await world.texts(meeting_id) == texts
    assert [one.token for one in world.attempts(meeting_id)] == [one.token for one in past]
    assert [one.outcome for one in world.attempts(meeting_id)] == [one.outcome or "cancelled" for one in past]
    assert await world.try_claim(await world.worker()) is None


async def check_retry(world: QueueWorld, meeting_id: UUID, claim: Claim | None) -> None:
    """From the beginning, with all chances and the whole history; an old holder brings nothing."""
    past, texts = world.attempts(meeting_id), await world.texts(meeting_id)
    world.edit_status(meeting_id, PENDING)
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.stage, meeting.error_code, meeting.error_message) == (PENDING, None, None, None)
    assert (meeting.started_at, meeting.completed_at, meeting.processed_by) == (None, None, None)
    job = world.job(meeting_id)
    assert (job.token, job.num_attempts, job.num_failures, job.num_crashes) == (None, 0, 0, 0)
    if claim is not None:
        late = await world.store.complete(meeting_id, claim.token, result("late"))
        assert late.outcome in ("cancelled", "lost", "already_done")
    assert await world.texts(meeting_id) == texts
    assert world.attempts(meeting_id) == past
    again = await world.claim(await world.worker())
    assert (again.meeting.id, again.attempt) == (meeting_id, 1)
    assert (await world.store.complete(meeting_id, again.token, result("new"))).outcome == "completed"
    assert await world.texts(meeting_id) == ["new"]
    assert world.attempts(meeting_id)[:-1] == past


@IN_SQL
async def test_a_cancelled_attempt_keeps_its_stage_in_the_history(world: QueueWorld) -> None:
    """The meeting itself is in no stage any more."""
    meeting_id, _ = await at_work(world)
    await world.store.cancel(meeting_id)
    assert [(past.outcome, past.stage) for past in world.attempts(meeting_id)] == [("cancelled", "diarize")]


@IN_SQL
async def test_a_retry_that_fails_keeps_result_and_warnings_of_before(world: QueueWorld) -> None:
    """What was achieved once is never lost: transcript, summary, voices, length, and who made it."""
    meeting_id, _ = await completed(world)
    before = await world.detail(meeting_id)
    await world.store.retry(meeting_id)
    for _ in range(3):
        claim = await world.claim(await world.worker())
        await world.store.fail(meeting_id, claim.token, failure())
    after = await world.detail(meeting_id)
    assert (after.meeting.status, after.meeting.error_code) == (FAILED, "engine_failed")
    assert (after.segments, after.summary, after.speakers) == (before.segments, before.summary, before.speakers)
    assert (after.meeting.result, after.meeting.duration_s) == (before.meeting.result, before.meeting.duration_s)
    assert [past.outcome for past in world.attempts(meeting_id)] == ["completed", "failure", "failure", "failure"]


@IN_SQL
async def test_a_retry_of_a_worker_that_has_not_noticed_the_cancel(world: QueueWorld) -> None:
    """Somebody else has claimed it anew before the first holder's next word: that word changes nothing."""
    w1, w2 = await world.worker("w1"), await world.worker("w2", host="pc-2")
    meeting_id = await world.enqueue()
    old = await world.claim(w1)
    world.edit_status(meeting_id, CANCELLED)
    world.edit_status(meeting_id, PENDING)
    new = await world.claim(w2)
    assert await world.beat(w1, old, Stage.SUMMARIZE, 0.9) == "cancelled"
    for word in (
        world.store.complete(meeting_id, old.token, result("late")),
        world.store.fail(meeting_id, old.token, failure()),
        world.store.release(meeting_id, old.token),
    ):
        assert (await word).outcome == "cancelled"
    assert (await world.store.complete(meeting_id, new.token, result("new"))).outcome == "completed"
    assert await world.texts(meeting_id) == ["new"]
    assert [past.outcome for past in world.attempts(meeting_id)] == ["cancelled", "completed"]


@IN_SQL
async def test_a_claim_whose_answer_was_lost_is_not_given_again_after_a_cancel(world: QueueWorld) -> None:
    """Not even after a retry: then the same claim id takes it as anybody would, with a token of its own."""
    info, claim_id = worker_info(), uuid4()
    await world.store.register(info)
    meeting_id = await world.enqueue()
    lost = (await world.store.claim(info.worker_id, info.instance_id, claim_id)).claim
    world.edit_status(meeting_id, CANCELLED)
    assert (await world.store.claim(info.worker_id, info.instance_id, claim_id)).claim is None
    world.edit_status(meeting_id, PENDING)
    again = (await world.store.claim(info.worker_id, info.instance_id, claim_id)).claim
    assert lost is not None
    assert again is not None
    assert again.token > lost.token
