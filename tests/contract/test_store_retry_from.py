"""A meeting is asked for again from one of its later stages on. Holds for every store."""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.contract.conftest import MOSTLY_IN_SQL
from tests.support.queue_values import failure, result
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import FailureKind
from worker.models import MeetingStatus, Stage, WorkerInfo


async def asked_anew(world: QueueWorld, w1: WorkerInfo, meeting_id: UUID, stage: Stage | None) -> dict[Stage, int]:
    """What the next claim says of it; that attempt completes."""
    assert (await world.store.retry(meeting_id, from_stage=stage)).outcome == "pending"
    claim = await world.claim(w1)
    assert (await world.store.complete(meeting_id, claim.token, result("again"))).outcome == "completed"
    return claim.anew_from


async def test_the_claim_says_from_which_stage_on_and_each_wish_has_a_greater_number(world: QueueWorld) -> None:
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    first = await asked_anew(world, w1, meeting_id, Stage.DIARIZE)
    second = await asked_anew(world, w1, meeting_id, Stage.SUMMARIZE)
    third = await asked_anew(world, w1, meeting_id, Stage.DIARIZE)
    assert list(first) == [Stage.DIARIZE]
    assert second == first | {Stage.SUMMARIZE: second[Stage.SUMMARIZE]}
    assert third[Stage.SUMMARIZE] == second[Stage.SUMMARIZE]
    assert first[Stage.DIARIZE] < second[Stage.SUMMARIZE] < third[Stage.DIARIZE]


@MOSTLY_IN_SQL
async def test_a_plain_retry_asks_for_nothing_anew_and_forgets_no_wish(world: QueueWorld) -> None:
    """Else what the wish brought would have to be computed again."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    assert await asked_anew(world, w1, meeting_id, None) == {}
    wish = await asked_anew(world, w1, meeting_id, Stage.IDENTIFY)
    assert await asked_anew(world, w1, meeting_id, None) == wish
    world.edit_status(meeting_id, MeetingStatus.PENDING)
    assert (await world.claim(w1)).anew_from == wish


@MOSTLY_IN_SQL
async def test_every_attempt_after_the_wish_is_told_the_same(world: QueueWorld) -> None:
    """So that what the first of them made is of use to the next."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    await world.store.retry(meeting_id, from_stage=Stage.DIARIZE)
    claim = await world.claim(w1)
    await world.store.fail(meeting_id, claim.token, failure())
    assert (await world.claim(w1)).anew_from == claim.anew_from != {}


@MOSTLY_IN_SQL
async def test_from_another_stage_it_is_refused_with_a_sentence(world: QueueWorld) -> None:
    meeting_id = await world.completed(await world.worker())
    for stage in set(Stage) - {Stage.DIARIZE, Stage.IDENTIFY, Stage.SUMMARIZE}:
        refused = await world.store.retry(meeting_id, from_stage=stage)
        assert refused.outcome == "refused"
        assert refused.message == "A meeting can be done again from diarize, from identify or from summarize on."
    assert await world.status_of(meeting_id) is MeetingStatus.COMPLETED


@MOSTLY_IN_SQL
async def test_a_corrected_transcript_is_replaced_only_if_somebody_says_so(world: QueueWorld) -> None:
    """A refused wish is none."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "helo")
    world.edit_text(meeting_id, 0, "hello")
    assert (await world.store.retry(meeting_id, from_stage=Stage.SUMMARIZE)).outcome == "refused"
    answer = await world.store.retry(meeting_id, replace_edits=True, from_stage=Stage.DIARIZE)
    assert answer.outcome == "pending"
    assert list((await world.claim(w1)).anew_from) == [Stage.DIARIZE]


@MOSTLY_IN_SQL
async def test_what_is_worked_on_or_gone_is_answered_as_ever(world: QueueWorld) -> None:
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    assert (await world.store.retry(meeting_id, from_stage=Stage.DIARIZE)).outcome == "refused"
    assert (await world.store.retry(uuid4(), from_stage=Stage.DIARIZE)).outcome == "gone"
    assert await world.beat(w1, claim) == "ok"


@MOSTLY_IN_SQL
async def test_the_same_wish_twice_is_one(world: QueueWorld) -> None:
    """The response was lost; once somebody has worked on it, it is a new one."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    answers = [await world.store.retry(meeting_id, from_stage=Stage.DIARIZE) for _ in range(2)]
    assert [answer.outcome for answer in answers] == ["pending", "already_done"]
    claim = await world.claim(w1)
    await world.store.release(meeting_id, claim.token)
    assert (await world.store.retry(meeting_id, from_stage=Stage.DIARIZE)).outcome == "pending"
    assert (await world.claim(w1)).anew_from[Stage.DIARIZE] > claim.anew_from[Stage.DIARIZE]


@MOSTLY_IN_SQL
async def test_a_meeting_that_waits_for_its_next_attempt_begins_again(world: QueueWorld) -> None:
    """With fresh chances, now, and nothing of the failure before it."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(meeting_id, claim.token, failure(FailureKind.FAILURE, retry_in_s=3600))
    assert (await world.store.retry(meeting_id, from_stage=Stage.SUMMARIZE)).outcome == "pending"
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code, meeting.started_at) == (MeetingStatus.PENDING, None, None)
    again = await world.claim(w1)
    assert (again.attempt, list(again.anew_from)) == (1, [Stage.SUMMARIZE])


@MOSTLY_IN_SQL
async def test_who_was_taken_for_dead_cannot_bring_the_old_stages_any_more(world: QueueWorld) -> None:
    """Without the wish a late result is welcome (salvage)."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.expire_leases()
    reaper = await world.worker("w2", host="pc-2")
    await world.store.drain("w2", draining=True)
    assert await world.try_claim(reaper) is None
    assert await world.status_of(meeting_id) is MeetingStatus.PENDING
    assert (await world.store.retry(meeting_id, from_stage=Stage.DIARIZE)).outcome == "pending"
    assert (await world.store.complete(meeting_id, claim.token, result("late"))).outcome == "lost"
    assert await world.texts(meeting_id) == []
