"""What people do: enqueue, watch, cancel, retry, and edit the tables by hand. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.queue_values import failure, result
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import MeetingStatus, NewMeeting, Stage

# --- enqueue and look --------------------------------------------------------------------------------------------


async def test_a_new_meeting_is_pending_and_keeps_what_was_asked(world: QueueWorld) -> None:
    """Every wish comes through to the worker."""
    owner = uuid4()
    asked = NewMeeting(
        title="Seminar",
        audio_path=f"{owner}/a b/ü.m4a",
        user_id=owner,
        language="de",
        min_speakers=2,
        max_speakers=5,
        prompt="Quantum chromodynamics",
        hotwords="gluon, meson",
        channels="separate",
        priority=3,
    )
    meeting_id = await world.enqueue(**asked.model_dump())
    claim = await world.claim(await world.worker())
    assert claim.meeting.model_dump(include=set(NewMeeting.model_fields)) == asked.model_dump() | {"id": meeting_id}


async def test_enqueueing_with_an_id_twice_makes_one_meeting(world: QueueWorld) -> None:
    """The response was lost."""
    asked = NewMeeting(title="once", audio_path="lab/a.wav", id=uuid4())
    assert await world.store.enqueue(asked) == asked.id
    assert await world.store.enqueue(asked) == asked.id
    assert [meeting.title for meeting in await world.store.meetings()] == ["once"]


async def test_enqueueing_again_changes_nothing(world: QueueWorld) -> None:
    """Not even a meeting that is being worked on, or its title."""
    asked = NewMeeting(title="first", audio_path="lab/a.wav", id=uuid4())
    await world.store.enqueue(asked)
    claim = await world.claim(await world.worker())
    await world.store.enqueue(asked.model_copy(update={"title": "second"}))
    meeting = (await world.detail(claim.meeting.id)).meeting
    assert (meeting.title, meeting.status) == ("first", MeetingStatus.PROCESSING)


async def test_what_is_said_of_the_channels_is_tidied(world: QueueWorld) -> None:
    """As people write it; nothing is no word."""
    for written, kept in ((" Mixed", "mixed"), ("SEPARATE", "separate"), (" ", None)):
        meeting_id = await world.enqueue(channels=written)
        assert (await world.detail(meeting_id)).meeting.channels == kept


async def test_another_word_for_the_channels_is_refused(world: QueueWorld) -> None:
    """With a sentence, and there is no such meeting; also where the same call came through before."""
    asked = NewMeeting(title="a", audio_path="lab/a.wav", id=uuid4())
    sentence = "The channels of a meeting are separate, mixed, or left empty"
    with pytest.raises(SupabaseQueryError, match=sentence):
        await world.store.enqueue(asked.model_copy(update={"channels": "left"}))
    assert await world.store.meetings() == ()
    await world.store.enqueue(asked)
    with pytest.raises(SupabaseQueryError, match=sentence):
        await world.store.enqueue(asked.model_copy(update={"channels": "left"}))


async def test_meetings_are_listed_newest_first_by_status(world: QueueWorld) -> None:
    """With a limit."""
    w1 = await world.worker()
    ids = []
    for title in "abc":
        ids.append(await world.enqueue(title))
        world.advance(1)
    await world.claim(w1)
    assert [meeting.title for meeting in await world.store.meetings()] == ["c", "b", "a"]
    assert [meeting.title for meeting in await world.store.meetings(limit=2)] == ["c", "b"]
    assert [meeting.title for meeting in await world.store.meetings(MeetingStatus.PENDING)] == ["c", "b"]
    assert [meeting.id for meeting in await world.store.meetings(MeetingStatus.PROCESSING)] == ids[:1]


async def test_an_unknown_meeting_is_none(world: QueueWorld) -> None:
    """Not an error."""
    assert await world.store.meeting(uuid4()) is None


async def test_status_shows_the_queue_and_who_does_what(world: QueueWorld) -> None:
    """Counts, the longest wait, each worker and its meetings."""
    w1, _ = await world.worker("w1"), await world.worker("w2", host="pc-2")
    await world.enqueue("in work")
    await world.enqueue("waiting")
    world.advance(10)
    claim = await world.claim(w1)
    world.advance(5)
    await world.beat(w1, claim, Stage.DIARIZE, 0.5)
    fleet = await world.store.status()
    assert fleet.counts == {MeetingStatus.PROCESSING: 1, MeetingStatus.PENDING: 1}
    assert fleet.oldest_pending_s == 15
    busy, idle = fleet.workers
    assert (busy.worker_id, busy.hostname, busy.alive, busy.last_seen_s) == ("w1", "pc-1", True, 0)
    assert (idle.worker_id, idle.last_seen_s, idle.meetings) == ("w2", 15, ())
    assert [(one.title, one.stage, one.progress, one.running_s) for one in busy.meetings] == [
        ("in work", "diarize", 0.5, 5)
    ]


async def test_status_tells_who_is_gone(world: QueueWorld) -> None:
    """Silent for a lease is not alive."""
    await world.worker("w1")
    world.advance(world.limits.lease_s)
    assert [worker.alive for worker in (await world.store.status()).workers] == [False]


async def test_an_empty_installation_has_a_status(world: QueueWorld) -> None:
    """Before the first worker and the first meeting."""
    fleet = await world.store.status()
    assert (fleet.counts, fleet.oldest_pending_s, fleet.workers) == ({}, None, ())


# --- cancel ------------------------------------------------------------------------------------------------------


async def test_a_cancelled_pending_meeting_is_not_claimed(world: QueueWorld) -> None:
    """It never starts."""
    meeting_id = await world.enqueue()
    assert (await world.store.cancel(meeting_id)).outcome == "cancelled"
    assert await world.try_claim(await world.worker()) is None
    assert await world.status_of(meeting_id) is MeetingStatus.CANCELLED


async def test_the_holder_of_a_cancelled_meeting_learns_so(world: QueueWorld) -> None:
    """With the next heartbeat, and with everything else it tries."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    assert (await world.store.cancel(meeting_id)).outcome == "cancelled"
    assert await world.beat(w1, claim) == "cancelled"
    assert (await world.store.fail(meeting_id, claim.token, failure())).outcome == "cancelled"
    assert (await world.store.release(meeting_id, claim.token)).outcome == "cancelled"
    assert await world.status_of(meeting_id) is MeetingStatus.CANCELLED
    assert [past.outcome for past in world.attempts(meeting_id)] == ["cancelled"]


async def test_a_late_heartbeat_does_not_resurrect_a_cancelled_meeting(world: QueueWorld) -> None:
    """Reaped first, cancelled then: salvage is over."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.expire_leases()
    await world.store.drain("w2", draining=True)
    await world.try_claim(w2)
    await world.store.cancel(meeting_id)
    assert await world.beat(w1, claim) == "cancelled"
    assert (await world.store.complete(meeting_id, claim.token, result("late"))).outcome == "cancelled"
    assert await world.status_of(meeting_id) is MeetingStatus.CANCELLED


async def test_cancelling_again_or_too_late_changes_nothing(world: QueueWorld) -> None:
    """`already_done`; `refused` with a sentence for what is over; `gone` for what never was."""
    w1 = await world.worker()
    done = await world.completed(w1)
    refused = await world.store.cancel(done)
    assert refused.outcome == "refused"
    assert refused.message
    assert await world.status_of(done) is MeetingStatus.COMPLETED
    meeting_id = await world.enqueue()
    await world.store.cancel(meeting_id)
    assert (await world.store.cancel(meeting_id)).outcome == "already_done"
    assert (await world.store.cancel(uuid4())).outcome == "gone"


# --- retry -------------------------------------------------------------------------------------------------------


async def test_a_failed_meeting_is_retried_with_fresh_chances(world: QueueWorld) -> None:
    """All counts start again; the history stays."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(meeting_id, claim.token, failure(FailureKind.PERMANENT))
    assert (await world.store.retry(meeting_id)).outcome == "pending"
    detail = await world.store.meeting(meeting_id)
    assert detail is not None
    assert (detail.meeting.status, detail.meeting.error_code) == (MeetingStatus.PENDING, None)
    assert (await world.claim(w1)).attempt == 1
    assert world.job(meeting_id).num_failures == 0
    assert [past.outcome for past in world.attempts(meeting_id)] == ["permanent", None]


async def test_a_retry_does_not_wait_for_the_old_backoff(world: QueueWorld) -> None:
    """Somebody asked for it now."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(meeting_id, claim.token, failure(retry_in_s=3600))
    await world.store.cancel(meeting_id)
    await world.store.retry(meeting_id)
    assert (await world.claim(w1)).meeting.id == meeting_id


async def test_the_old_result_stays_until_the_new_one_is_there(world: QueueWorld) -> None:
    """A retry that fails costs nothing."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "old")
    assert (await world.store.retry(meeting_id)).outcome == "pending"
    claim = await world.claim(w1)
    assert await world.texts(meeting_id) == ["old"]
    await world.store.fail(meeting_id, claim.token, failure(FailureKind.PERMANENT))
    assert await world.texts(meeting_id) == ["old"]


async def test_a_retry_supersedes_a_reaped_holder(world: QueueWorld) -> None:
    """The start from zero is nobody's late result."""
    meeting_id = await world.enqueue()
    await world.claim(await world.worker("w1"))
    claim = await world.claim(await world.worker("w1"))
    await world.worker("w1")  # poison
    await world.store.retry(meeting_id)
    assert (await world.store.complete(meeting_id, claim.token, result("late"))).outcome == "lost"
    assert await world.status_of(meeting_id) is MeetingStatus.PENDING


async def test_a_retry_of_what_is_under_way_is_refused(world: QueueWorld) -> None:
    """Pending is `already_done`, processing `refused` with a sentence, unknown `gone`."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    assert (await world.store.retry(meeting_id)).outcome == "already_done"
    claim = await world.claim(w1)
    refused = await world.store.retry(meeting_id)
    assert refused.outcome == "refused"
    assert refused.message
    assert await world.beat(w1, claim) == "ok"
    assert (await world.store.retry(uuid4())).outcome == "gone"


async def test_a_corrected_transcript_is_not_overwritten(world: QueueWorld) -> None:
    """Unless somebody says so: then the corrections are replaced, once."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "helo", "world")
    world.edit_text(meeting_id, 0, "hello")
    refused = await world.store.retry(meeting_id)
    assert refused.outcome == "refused"
    assert refused.message is not None
    assert "1 passage" in refused.message
    assert await world.status_of(meeting_id) is MeetingStatus.COMPLETED
    assert (await world.store.retry(meeting_id, replace_edits=True)).outcome == "pending"
    claim = await world.claim(w1)
    await world.store.complete(meeting_id, claim.token, result("helo again"))
    assert await world.texts(meeting_id) == ["helo again"]
    assert (await world.store.retry(meeting_id)).outcome == "pending"


async def test_writing_the_same_text_is_no_correction(world: QueueWorld) -> None:
    """An editor that saves without a change does not lock the transcript."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "hello")
    world.edit_text(meeting_id, 0, "hello")
    assert (await world.store.retry(meeting_id)).outcome == "pending"


async def test_a_correction_during_a_retry_is_refused(world: QueueWorld) -> None:
    """It would be lost without a word."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "helo")
    await world.store.retry(meeting_id)
    with pytest.raises(SupabaseQueryError, match="would be lost"):
        world.edit_text(meeting_id, 0, "hello")
    assert await world.texts(meeting_id) == ["helo"]


# --- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [False, True])
async def test_setting_cancelled_by_hand_is_a_cancel(world: QueueWorld, claimed: bool) -> None:
    """In the table editor: pending or processing."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1) if claimed else None
    world.edit_status(meeting_id, MeetingStatus.CANCELLED)
    job = world.job(meeting_id)
    assert (job.state, job.token, job.has_lease) == ("cancelled", None, False)
    if claim is not None:
        assert await world.beat(w1, claim) == "cancelled"
    assert await world.try_claim(w1) is None


@pytest.mark.parametrize("was", [MeetingStatus.FAILED, MeetingStatus.CANCELLED, MeetingStatus.COMPLETED])
async def test_setting_pending_by_hand_is_a_retry(world: QueueWorld, was: MeetingStatus) -> None:
    """From each of the three ends."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    if was is MeetingStatus.FAILED:
        await world.store.fail(meeting_id, claim.token, failure(FailureKind.PERMANENT))
    elif was is MeetingStatus.CANCELLED:
        await world.store.cancel(meeting_id)
    else:
        await world.store.complete(meeting_id, claim.token, result("done"))
    world.edit_status(meeting_id, MeetingStatus.PENDING)
    again = await world.claim(w1)
    assert (again.meeting.id, again.attempt) == (meeting_id, 1)
    detail = await world.store.meeting(meeting_id)
    assert detail is not None
    assert (detail.meeting.error_code, detail.meeting.completed_at) == (None, None)


async def test_setting_pending_by_hand_respects_corrections(world: QueueWorld) -> None:
    """Refused with the sentence that says how."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "helo")
    world.edit_text(meeting_id, 0, "hello")
    with pytest.raises(SupabaseQueryError, match="--replace-edits"):
        world.edit_status(meeting_id, MeetingStatus.PENDING)
    assert await world.status_of(meeting_id) is MeetingStatus.COMPLETED


@pytest.mark.parametrize(
    ("was", "wanted"),
    [
        (MeetingStatus.PENDING, MeetingStatus.PROCESSING),
        (MeetingStatus.PENDING, MeetingStatus.COMPLETED),
        (MeetingStatus.PENDING, MeetingStatus.FAILED),
        (MeetingStatus.PROCESSING, MeetingStatus.PENDING),
        (MeetingStatus.PROCESSING, MeetingStatus.COMPLETED),
        (MeetingStatus.PROCESSING, MeetingStatus.FAILED),
        (MeetingStatus.COMPLETED, MeetingStatus.PROCESSING),
        (MeetingStatus.COMPLETED, MeetingStatus.FAILED),
        (MeetingStatus.COMPLETED, MeetingStatus.CANCELLED),
    ],
)
async def test_every_other_change_of_status_by_hand_is_refused(
    world: QueueWorld, was: MeetingStatus, wanted: MeetingStatus
) -> None:
    """With a sentence, and without a trace: the holder goes on."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = None if was is MeetingStatus.PENDING else await world.claim(w1)
    if claim is not None and was is MeetingStatus.COMPLETED:
        await world.store.complete(meeting_id, claim.token, result("done"))
    before = world.job(meeting_id)
    with pytest.raises(SupabaseQueryError, match=f"from {was} to {wanted} by hand"):
        world.edit_status(meeting_id, wanted)
    assert world.job(meeting_id) == before
    assert await world.status_of(meeting_id) is was


async def test_a_deleted_meeting_leaves_nothing_behind(world: QueueWorld) -> None:
    """No job, no speakers, nothing to claim."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    waiting = await world.enqueue()
    world.delete_meeting(meeting_id)
    world.delete_meeting(waiting)
    assert await world.store.meetings() == ()
    assert world.speaker_rows() == []
    assert world.attempts(meeting_id) == []
    assert await world.try_claim(w1) is None
