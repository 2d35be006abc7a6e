"""Who gets what: claim, register, take-over, drain. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.queue_values import failure, result, worker_info
from tests.support.queue_worlds import QueueWorld
from worker.models import Beat, MeetingStatus

# --- claim -------------------------------------------------------------------------------------------------------


async def test_an_inserted_meeting_is_claimed_and_shown_as_processing(world: QueueWorld) -> None:
    """Inserting a row is all it takes."""
    w1 = await world.worker()
    meeting_id = await world.enqueue("standup", language="en")
    claim = await world.claim(w1)
    assert (claim.meeting.id, claim.meeting.title, claim.attempt) == (meeting_id, "standup", 1)
    assert claim.lease_s == world.limits.lease_s
    detail = await world.store.meeting(meeting_id)
    assert detail is not None
    assert detail.meeting.status is MeetingStatus.PROCESSING
    assert detail.meeting.processed_by == "w1"
    assert detail.meeting.started_at is not None


async def test_an_empty_queue_says_so(world: QueueWorld) -> None:
    """`empty`, nothing pending and no time to wait for."""
    w1 = await world.worker()
    answer = await world.store.claim(w1.worker_id, w1.instance_id, uuid4())
    assert (answer.outcome, answer.claim, answer.num_pending, answer.next_run_in_s) == ("empty", None, 0, None)


async def test_claims_go_by_priority_then_age(world: QueueWorld) -> None:
    """The urgent first; among equals the one that waits longest."""
    w1 = await world.worker()
    old = await world.enqueue("old")
    world.advance(1)
    young = await world.enqueue("young")
    world.advance(1)
    urgent = await world.enqueue("urgent", priority=5)
    assert [(await world.claim(w1)).meeting.id for _ in range(3)] == [urgent, old, young]


async def test_meetings_inserted_at_the_same_moment_keep_their_order(world: QueueWorld) -> None:
    """The queue is first in, first out even where the clock cannot tell."""
    w1 = await world.worker()
    ids = [await world.enqueue(str(number)) for number in range(4)]
    assert [(await world.claim(w1)).meeting.id for _ in ids] == ids


async def test_a_changed_priority_counts(world: QueueWorld) -> None:
    """Somebody raises a meeting that waits already."""
    w1 = await world.worker()
    await world.enqueue("first")
    second = await world.enqueue("second")
    world.edit_priority(second, 9)
    assert (await world.claim(w1)).meeting.id == second


async def test_a_meeting_is_leased_to_one_worker_only(world: QueueWorld) -> None:
    """The second worker gets nothing."""
    w1, w2 = await world.worker("w1"), await world.worker("w2")
    await world.enqueue()
    await world.claim(w1)
    assert await world.try_claim(w2) is None


async def test_a_lost_claim_response_is_given_again(world: QueueWorld) -> None:
    """The same claim id: same job, same token, and no second attempt is charged."""
    w1, claim_id = await world.worker(), uuid4()
    meeting_id = await world.enqueue("first")
    await world.enqueue("second")
    lost = await world.store.claim(w1.worker_id, w1.instance_id, claim_id)
    again = await world.store.claim(w1.worker_id, w1.instance_id, claim_id)
    assert again == lost
    assert again.claim is not None
    assert world.job(meeting_id).num_attempts == 1
    assert len(world.attempts(meeting_id)) == 1


async def test_another_workers_claim_id_gives_it_nothing_of_mine(world: QueueWorld) -> None:
    """A claim id is only good for the worker that made it."""
    w1, w2, claim_id = await world.worker("w1"), await world.worker("w2"), uuid4()
    await world.enqueue()
    await world.store.claim(w1.worker_id, w1.instance_id, claim_id)
    assert (await world.store.claim(w2.worker_id, w2.instance_id, claim_id)).outcome == "empty"


async def test_a_used_claim_id_does_not_bring_back_a_finished_job(world: QueueWorld) -> None:
    """After the job ended the same id claims afresh."""
    w1, claim_id = await world.worker(), uuid4()
    await world.enqueue()
    first = (await world.store.claim(w1.worker_id, w1.instance_id, claim_id)).claim
    assert first is not None
    await world.store.complete(first.meeting.id, first.token, result("done"))
    assert (await world.store.claim(w1.worker_id, w1.instance_id, claim_id)).outcome == "empty"


async def test_claiming_ahead_takes_only_what_has_waited(world: QueueWorld) -> None:
    """With `min_wait_s` a busy worker leaves fresh meetings to idle ones."""
    w1 = await world.worker()
    await world.enqueue()
    answer = await world.store.claim(w1.worker_id, w1.instance_id, uuid4(), min_wait_s=60.0)
    assert (answer.outcome, answer.num_pending, answer.next_run_in_s) == ("empty", 1, 60.0)
    world.advance(60)
    assert await world.try_claim(w1, min_wait_s=60.0) is not None


async def test_a_meeting_in_backoff_waits_for_its_time(world: QueueWorld) -> None:
    """It counts as pending, and the answer says when it may be claimed."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    await world.store.fail(claim.meeting.id, claim.token, failure(retry_in_s=40.0))
    answer = await world.store.claim(w1.worker_id, w1.instance_id, uuid4())
    assert (answer.outcome, answer.num_pending, answer.next_run_in_s) == ("empty", 1, 40.0)
    world.advance(40)
    assert (await world.claim(w1)).attempt == 2


async def test_a_meeting_that_failed_goes_behind_those_that_waited_longer(world: QueueWorld) -> None:
    """Its turn is when its backoff ends, not when it was inserted."""
    w1 = await world.worker()
    failed = await world.enqueue("failed")
    claim = await world.claim(w1)
    await world.store.fail(failed, claim.token, failure(retry_in_s=10.0))
    waiting = await world.enqueue("waiting")
    world.advance(10)
    assert [(await world.claim(w1)).meeting.id for _ in range(2)] == [waiting, failed]


async def test_tokens_grow_with_every_claim(world: QueueWorld) -> None:
    """That is what makes them fence."""
    w1 = await world.worker()
    await world.enqueue()
    tokens = []
    for _ in range(3):
        claim = await world.claim(w1)
        tokens.append(claim.token)
        await world.store.release(claim.meeting.id, claim.token)
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize(
    "path",
    [
        "{other}/a.wav",
        "a.wav",
        "{owner}",
        "{owner}/../{other}/a.wav",
        "{owner}/a/..",
        "{owner}/%2e%2e/{other}/a.wav",
        "{owner}/..\\{other}\\a.wav",
        "{owner}/./a.wav",
        "{owner}//a.wav",
        "{owner}/a\n.wav",
    ],
)
async def test_a_path_outside_its_owners_folder_fails_at_claim(world: QueueWorld, path: str) -> None:
    """Else one could have another's recording transcribed; the next meeting is claimed instead."""
    w1, owner = await world.worker(), uuid4()
    refused = await world.enqueue(user_id=owner, audio_path=path.format(owner=owner, other=uuid4()))
    fine = await world.enqueue(user_id=owner, audio_path=f"{owner}/b..wav")
    assert (await world.claim(w1)).meeting.id == fine
    detail = await world.store.meeting(refused)
    assert detail is not None
    assert detail.meeting.status is MeetingStatus.FAILED
    assert detail.meeting.error_code == "audio_path_refused"
    assert world.attempts(refused) == []


async def test_a_meeting_of_the_lab_may_have_any_path(world: QueueWorld) -> None:
    """Without an owner there is no folder to stay in."""
    w1 = await world.worker()
    meeting_id = await world.enqueue(audio_path="archive/2020/a.wav")
    assert (await world.claim(w1)).meeting.id == meeting_id


# --- workers -----------------------------------------------------------------------------------------------------


async def test_a_worker_that_never_registered_may_not_claim(world: QueueWorld) -> None:
    """It is told to register."""
    stranger = worker_info("nobody")
    await world.enqueue()
    answer = await world.store.claim(stranger.worker_id, stranger.instance_id, uuid4())
    assert (answer.outcome, answer.claim) == ("unregistered", None)


async def test_registering_twice_is_harmless(world: QueueWorld) -> None:
    """A lost response: the same instance registers again and keeps its jobs."""
    w1 = await world.worker()
    await world.enqueue()
    claim = await world.claim(w1)
    again = await world.store.register(w1)
    assert (again.outcome, again.num_taken_over) == ("registered", 0)
    assert again.lease_s == world.limits.lease_s
    assert await world.beat(w1, claim) == "ok"
    assert world.job(claim.meeting.id).num_crashes == 0


async def test_a_restarted_worker_takes_over_its_own_past_at_once(world: QueueWorld) -> None:
    """Same host and WORKER_ID: the older instance's leases end, its jobs can be claimed without any waiting."""
    before = await world.worker("w1")
    await world.enqueue()
    old = await world.claim(before)
    after = worker_info("w1")
    registration = await world.store.register(after)
    assert (registration.outcome, registration.num_taken_over) == ("registered", 1)
    new = await world.claim(after)
    assert (new.meeting.id, new.attempt) == (old.meeting.id, 2)
    assert new.token > old.token
    assert [(past.outcome, past.code) for past in world.attempts(old.meeting.id)] == [
        ("reaped", "worker_restarted"),
        (None, None),
    ]


async def test_a_restart_leaves_the_jobs_of_other_workers_alone(world: QueueWorld) -> None:
    """Start-up must never reset what another PC works on."""
    w2 = await world.worker("w2")
    await world.worker("w1")
    await world.enqueue()
    claim = await world.claim(w2)
    registration = await world.store.register(worker_info("w1"))
    assert registration.num_taken_over == 0
    assert await world.beat(w2, claim) == "ok"


async def test_an_old_instance_is_unregistered_once_a_newer_one_is_there(world: QueueWorld) -> None:
    """It may neither claim nor keep leases alive."""
    before = await world.worker("w1")
    await world.worker("w1")
    await world.enqueue()
    assert (await world.store.claim(before.worker_id, before.instance_id, uuid4())).outcome == "unregistered"
    assert not (await world.store.heartbeat(before.worker_id, before.instance_id, [])).registered


async def test_a_superseded_instance_may_not_register_again(world: QueueWorld) -> None:
    """Else two processes with one WORKER_ID would take each other's jobs forever."""
    before = await world.worker("w1")
    await world.worker("w1")
    answer = await world.store.register(before)
    assert answer.outcome == "refused"
    assert answer.message


async def test_an_old_instances_heartbeat_does_not_resurrect(world: QueueWorld) -> None:
    """The job it lost to the restart stays claimable."""
    before = await world.worker("w1")
    await world.enqueue()
    claim = await world.claim(before)
    await world.worker("w1")
    await world.beat(before, claim)
    assert world.job(claim.meeting.id).state == "pending"


async def test_another_host_with_the_same_id_is_refused_while_the_first_lives(world: QueueWorld) -> None:
    """And the message names the PC."""
    first = await world.worker("w1", host="pc-1")
    answer = await world.store.register(worker_info("w1", host="pc-2"))
    assert answer.outcome == "refused"
    assert answer.message is not None
    assert "pc-1" in answer.message
    assert (answer.lease_s, answer.heartbeat_s) == (world.limits.lease_s, world.limits.heartbeat_s)
    assert (await world.store.heartbeat(first.worker_id, first.instance_id, [])).registered


async def test_another_host_gets_the_id_after_one_lease_of_silence(world: QueueWorld) -> None:
    """The PC was replaced."""
    await world.worker("w1", host="pc-1")
    world.advance(world.limits.lease_s)
    assert (await world.store.register(worker_info("w1", host="pc-2"))).outcome == "registered"


async def test_a_draining_worker_gets_nothing_new_and_keeps_what_it_has(world: QueueWorld) -> None:
    """It learns so from claim and heartbeat, and goes on when the drain is taken back."""
    w1 = await world.worker()
    await world.enqueue("first")
    await world.enqueue("second")
    claim = await world.claim(w1)
    assert (await world.store.drain("w1", draining=True)).outcome == "draining"
    answer = await world.store.claim(w1.worker_id, w1.instance_id, uuid4())
    assert (answer.outcome, answer.claim, answer.num_pending) == ("draining", None, 1)
    beat = Beat(meeting_id=claim.meeting.id, token=claim.token)
    heartbeat = await world.store.heartbeat(w1.worker_id, w1.instance_id, [beat])
    assert heartbeat.draining
    assert heartbeat.jobs[0].outcome == "ok"
    assert (await world.store.drain("w1", draining=False)).outcome == "resumed"
    await world.claim(w1)


async def test_a_drain_outlives_a_restart(world: QueueWorld) -> None:
    """Who takes a PC out of service does not want a reboot to put it back."""
    await world.worker("w1")
    await world.store.drain("w1", draining=True)
    w1 = await world.worker("w1")
    assert (await world.store.claim(w1.worker_id, w1.instance_id, uuid4())).outcome == "draining"


async def test_draining_an_unknown_worker_says_so(world: QueueWorld) -> None:
    """A typing error should not look like success."""
    answer = await world.store.drain("w99", draining=True)
    assert answer.outcome == "gone"
    assert answer.message


async def test_a_worker_learns_its_lease_and_its_heartbeat_when_it_registers(world: QueueWorld) -> None:
    registration = await world.store.register(worker_info("newcomer"))
    assert (registration.lease_s, registration.heartbeat_s) == (world.limits.lease_s, world.limits.heartbeat_s)
