"""How an attempt ends: complete, fail, release. Holds for every store."""

from __future__ import annotations

import pytest

from tests.support.queue_values import failure, result, voice
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import FailureKind
from worker.models import MeetingStatus, ResultWarning, Stage

# --- complete ----------------------------------------------------------------------------------------------------


async def test_a_result_is_written_whole(world: QueueWorld) -> None:
    """Segments with their words, voices, summary, warnings and figures come back as they were."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    warnings = (ResultWarning(code="diarize_failed", message="Only one voice.", stage=Stage.DIARIZE),)
    written = result("good morning", "and welcome").model_copy(update={"warnings": warnings})
    assert (await world.store.complete(meeting_id, claim.token, written)).outcome == "completed"
    detail = await world.detail(meeting_id)
    assert detail.segments == written.segments
    assert detail.summary == written.summary
    assert [(one.label, one.speech_s, one.name) for one in detail.speakers] == [
        ("SPEAKER_00", 4.0, None),
        ("SPEAKER_01", 4.0, None),
    ]
    meeting = detail.meeting
    assert (meeting.status, meeting.duration_s, meeting.warnings) == (MeetingStatus.COMPLETED, 12.5, warnings)
    assert meeting.result == {"engine": "scripted", "language": "en"}
    assert meeting.completed_at is not None
    assert (meeting.stage, meeting.progress, meeting.error_code) == (None, None, None)


async def test_a_segment_without_confidence_keeps_none(world: QueueWorld) -> None:
    """None means that the engine does not say; zero would mean that it is sure to be wrong."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    written = result("good morning")
    unsure = written.segments[0].model_copy(update={"confidence": None})
    answer = await world.store.complete(meeting_id, claim.token, written.model_copy(update={"segments": (unsure,)}))
    assert answer.outcome == "completed"
    assert [segment.confidence for segment in (await world.detail(meeting_id)).segments] == [None]


async def test_a_meeting_without_speech_completes_with_nothing(world: QueueWorld) -> None:
    """Silence is a result."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    silent = result(voices=()).model_copy(update={"summary": None})
    assert (await world.store.complete(meeting_id, claim.token, silent)).outcome == "completed"
    detail = await world.detail(meeting_id)
    assert (detail.segments, detail.speakers, detail.summary) == ((), (), None)


async def test_a_repeated_complete_changes_nothing(world: QueueWorld) -> None:
    """The response was lost; the second call learns that it is done."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "first")
    token = world.attempts(meeting_id)[0].token
    speakers = world.speaker_rows()
    assert (await world.store.complete(meeting_id, token, result("second"))).outcome == "already_done"
    assert await world.texts(meeting_id) == ["first"]
    assert world.speaker_rows() == speakers


async def test_a_completed_job_has_no_lease_and_is_not_claimed(world: QueueWorld) -> None:
    """Completed is left only by retry."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    await world.expire_leases()
    assert await world.try_claim(w1) is None
    job = world.job(meeting_id)
    assert (job.state, job.token, job.has_lease) == ("completed", None, False)


async def test_complete_after_cancel_is_rejected(world: QueueWorld) -> None:
    """Salvage never overrides a person."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.cancel(meeting_id)
    answer = await world.store.complete(meeting_id, claim.token, result("unwanted"))
    assert answer.outcome == "cancelled"
    assert answer.is_lost
    assert await world.texts(meeting_id) == []


async def test_complete_after_cancel_and_retry_is_rejected(world: QueueWorld) -> None:
    """The old token stays superseded when the meeting starts anew."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.cancel(meeting_id)
    await world.store.retry(meeting_id)
    assert (await world.store.complete(meeting_id, claim.token, result("unwanted"))).outcome == "cancelled"
    assert await world.status_of(meeting_id) is MeetingStatus.PENDING


async def test_complete_of_a_deleted_meeting_says_gone(world: QueueWorld) -> None:
    """And brings nothing back."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    world.delete_meeting(meeting_id)
    assert (await world.store.complete(meeting_id, claim.token, result("unwanted"))).outcome == "gone"
    assert (await world.store.fail(meeting_id, claim.token, failure())).outcome == "gone"
    assert (await world.store.release(meeting_id, claim.token)).outcome == "gone"
    assert await world.beat(w1, claim) == "gone"
    assert await world.store.meeting(meeting_id) is None


async def test_complete_with_a_token_of_another_meeting_is_rejected(world: QueueWorld) -> None:
    """A token is good for one job."""
    w1 = await world.worker()
    first, second = await world.enqueue("first"), await world.enqueue("second")
    await world.claim(w1)
    claim = await world.claim(w1)
    assert claim.meeting.id == second
    assert (await world.store.complete(first, claim.token, result("wrong"))).outcome == "lost"


async def test_a_failed_write_writes_nothing(world: QueueWorld) -> None:
    """After `release` the attempt is over: a result with its token is no longer taken."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.release(meeting_id, claim.token)
    assert (await world.store.complete(meeting_id, claim.token, result("late"))).outcome == "lost"
    assert await world.texts(meeting_id) == []


async def test_done_anew_replaces_everything(world: QueueWorld) -> None:
    """Old segments, voices and summary are gone, none is left over."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "one", "two", "three")
    await world.store.retry(meeting_id)
    claim = await world.claim(w1)
    await world.store.complete(meeting_id, claim.token, result("anew", voices=(voice("SPEAKER_00"),)))
    detail = await world.detail(meeting_id)
    assert await world.texts(meeting_id) == ["anew"]
    assert [one.label for one in detail.speakers] == ["SPEAKER_00"]
    assert detail.summary is not None
    assert detail.summary.overview == "anew"


# --- fail --------------------------------------------------------------------------------------------------------


async def fail_once(world: QueueWorld, kind: FailureKind, **options: float) -> str:
    w1 = await world.worker()
    claim = await world.claim(w1)
    return (await world.store.fail(claim.meeting.id, claim.token, failure(kind, **options))).outcome  # type: ignore[arg-type]  # retry_in_s only


async def test_a_failure_is_retried_and_its_reason_shown(world: QueueWorld) -> None:
    """The row says what went wrong while it waits for the next attempt."""
    meeting_id = await world.enqueue()
    assert await fail_once(world, FailureKind.FAILURE) == "retrying"
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code) == (MeetingStatus.PENDING, "engine_failed")
    assert meeting.error_message == "It failed. Try again."
    assert (meeting.stage, meeting.progress, meeting.processed_by) == (None, None, None)


async def test_the_next_attempt_clears_the_reason(world: QueueWorld) -> None:
    """A row in work shows no old error."""
    meeting_id = await world.enqueue()
    await fail_once(world, FailureKind.FAILURE)
    claim = await world.claim(await world.worker())
    meeting = (await world.detail(meeting_id)).meeting
    assert (claim.attempt, meeting.error_code, meeting.error_message) == (2, None, None)


async def test_three_failures_are_the_end(world: QueueWorld) -> None:
    """With the last failure's code, and the stage where it happened."""
    meeting_id = await world.enqueue()
    outcomes = [await fail_once(world, FailureKind.FAILURE) for _ in range(3)]
    assert outcomes == ["retrying", "retrying", "failed"]
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code, meeting.stage) == (MeetingStatus.FAILED, "engine_failed", "transcribe")
    assert await world.try_claim(await world.worker()) is None


async def test_a_permanent_failure_ends_at_once(world: QueueWorld) -> None:
    """Trying again cannot help."""
    meeting_id = await world.enqueue()
    assert await fail_once(world, FailureKind.PERMANENT) == "failed"
    assert await world.status_of(meeting_id) is MeetingStatus.FAILED


async def test_two_crashes_of_a_child_make_poison(world: QueueWorld) -> None:
    """The code says so; the history keeps what was reported."""
    meeting_id = await world.enqueue()
    assert await fail_once(world, FailureKind.CRASH) == "retrying"
    assert await fail_once(world, FailureKind.CRASH) == "failed"
    assert (await world.detail(meeting_id)).meeting.error_code == "poison"
    assert [(past.outcome, past.code) for past in world.attempts(meeting_id)] == [("crash", "engine_failed")] * 2


async def test_a_crash_and_a_lost_worker_add_up(world: QueueWorld) -> None:
    """Both are the death of a process over this recording."""
    meeting_id = await world.enqueue()
    await fail_once(world, FailureKind.CRASH)
    await world.claim(await world.worker())
    await world.worker()
    assert (await world.detail(meeting_id)).meeting.error_code == "poison"


async def test_failures_and_crashes_are_counted_apart(world: QueueWorld) -> None:
    """Two failures and one crash are not yet the end of either."""
    meeting_id = await world.enqueue()
    kinds = [FailureKind.FAILURE, FailureKind.CRASH, FailureKind.FAILURE]
    assert [await fail_once(world, kind) for kind in kinds] == ["retrying"] * 3
    job = world.job(meeting_id)
    assert (job.num_failures, job.num_crashes, job.num_attempts) == (2, 1, 3)


async def test_infrastructure_spends_no_attempt(world: QueueWorld) -> None:
    """A dead network does not use up the meeting's chances."""
    meeting_id = await world.enqueue()
    for _ in range(10):
        assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "retrying"
    job = world.job(meeting_id)
    assert (job.num_attempts, job.num_failures, job.num_crashes) == (0, 0, 0)
    assert (await world.claim(await world.worker())).attempt == 1


async def test_infrastructure_gives_up_after_a_day(world: QueueWorld) -> None:
    """Of trying: the code stays the reported one."""
    meeting_id = await world.enqueue()
    await fail_once(world, FailureKind.INFRASTRUCTURE)
    await fail_once(world, FailureKind.INFRASTRUCTURE)
    world.advance(24 * 3600)
    assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "failed"
    assert (await world.detail(meeting_id)).meeting.error_code == "engine_failed"


async def test_a_weekend_without_workers_is_not_a_day_of_trying(world: QueueWorld) -> None:
    """One failure on Friday and one on Monday do not give up."""
    await world.enqueue()
    await fail_once(world, FailureKind.INFRASTRUCTURE)
    world.advance(60 * 3600)
    assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "retrying"


async def test_another_kind_of_failure_ends_the_infrastructure_streak(world: QueueWorld) -> None:
    """The network was back in between."""
    await world.enqueue()
    for kind in (FailureKind.INFRASTRUCTURE, FailureKind.INFRASTRUCTURE, FailureKind.FAILURE):
        await fail_once(world, kind)
    world.advance(24 * 3600)
    assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "retrying", "the day starts anew"
    world.advance(24 * 3600)
    assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "retrying", "and so does the count"
    assert await fail_once(world, FailureKind.INFRASTRUCTURE) == "failed"


async def test_a_meeting_whose_audio_is_not_there_waits(world: QueueWorld) -> None:
    """Dashboards insert first and upload after: pending, says what it waits for, and nothing is spent."""
    meeting_id = await world.enqueue()
    assert await fail_once(world, FailureKind.WAITING, retry_in_s=20.0) == "retrying"
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.stage, meeting.error_code) == (MeetingStatus.PENDING, "waiting_for_audio", None)
    assert world.job(meeting_id).num_attempts == 0
    world.advance(20)
    assert (await world.claim(await world.worker())).attempt == 1


async def test_waiting_for_audio_ends_after_an_hour(world: QueueWorld) -> None:
    """Then the row fails with the code that says what to do."""
    meeting_id = await world.enqueue()
    for _ in range(4):
        assert await fail_once(world, FailureKind.WAITING) == "retrying"
        world.advance(900)
    w1 = await world.worker()
    claim = await world.claim(w1)
    answer = await world.store.fail(meeting_id, claim.token, failure(FailureKind.WAITING, code="audio_missing"))
    assert answer.outcome == "failed"
    meeting = (await world.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code) == (MeetingStatus.FAILED, "audio_missing")


@pytest.mark.parametrize("kind", list(FailureKind))
async def test_a_repeated_fail_counts_once(world: QueueWorld, kind: FailureKind) -> None:
    """The response was lost."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(meeting_id, claim.token, failure(kind))
    before = world.job(meeting_id)
    assert (await world.store.fail(meeting_id, claim.token, failure(kind))).outcome == "already_done"
    assert world.job(meeting_id) == before


async def test_a_repeated_fail_after_somebody_reclaimed_counts_nothing(world: QueueWorld) -> None:
    """The repeat must not hit the next attempt."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    old = await world.claim(w1)
    await world.store.fail(meeting_id, old.token, failure())
    new = await world.claim(w1)
    assert (await world.store.fail(meeting_id, old.token, failure())).outcome == "already_done"
    assert await world.beat(w1, new) == "ok"
    assert world.job(meeting_id).num_failures == 1


# --- release -----------------------------------------------------------------------------------------------------


async def test_release_refunds_the_attempt_and_keeps_the_place(world: QueueWorld) -> None:
    """A stop is not a failure: next in line again, as the first attempt."""
    w1 = await world.worker()
    first = await world.enqueue("first")
    claim = await world.claim(w1)
    world.advance(10)
    await world.enqueue("second")
    assert (await world.store.release(first, claim.token)).outcome == "released"
    assert await world.status_of(first) is MeetingStatus.PENDING
    again = await world.claim(w1)
    assert (again.meeting.id, again.attempt) == (first, 1)


async def test_releasing_again_and_again_never_uses_a_meeting_up(world: QueueWorld) -> None:
    """A PC that reboots daily cannot fail a meeting."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    for _ in range(8):
        claim = await world.claim(w1)
        assert claim.attempt == 1
        await world.store.release(meeting_id, claim.token)
    assert [past.outcome for past in world.attempts(meeting_id)] == ["released"] * 8


async def test_a_repeated_release_is_harmless(world: QueueWorld) -> None:
    """Also when somebody else has the meeting by then."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    meeting_id = await world.enqueue()
    old = await world.claim(w1)
    await world.store.release(meeting_id, old.token)
    new = await world.claim(w2)
    assert (await world.store.release(meeting_id, old.token)).outcome == "already_done"
    assert await world.beat(w2, new) == "ok"
    assert world.job(meeting_id).num_attempts == 1


async def test_a_heartbeat_after_release_does_not_take_the_job_back(world: QueueWorld) -> None:
    """A beat that was on its way when the worker stopped."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.release(meeting_id, claim.token)
    assert await world.beat(w1, claim) == "lost"
    assert world.job(meeting_id).state == "pending"


async def test_release_after_complete_is_too_late(world: QueueWorld) -> None:
    """The result stays."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "kept")
    token = world.attempts(meeting_id)[0].token
    assert (await world.store.release(meeting_id, token)).outcome == "already_done"
    assert await world.status_of(meeting_id) is MeetingStatus.COMPLETED
