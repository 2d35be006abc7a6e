"""What became of meetings of which a PC still has working files. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

from tests.contract.conftest import MOSTLY_IN_SQL
from tests.support.queue_values import failure
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import FailureKind
from worker.models import MeetingStatus


async def test_each_meeting_has_its_status_and_a_deleted_one_has_none(world: QueueWorld) -> None:
    info = await world.worker()
    completed, retried = await world.completed(info, "hello"), await world.completed(info, "hello")
    failed = await world.enqueue()
    claim = await world.claim(info)
    await world.store.fail(claim.meeting.id, claim.token, failure(FailureKind.PERMANENT))
    processing = await world.enqueue()
    await world.claim(info)
    await world.store.retry(retried)
    pending, cancelled, deleted = [await world.enqueue() for _ in range(3)]
    await world.store.cancel(cancelled)
    world.delete_meeting(deleted)
    asked = [completed, retried, failed, processing, pending, cancelled, deleted, uuid4()]
    assert await world.store.statuses(asked) == {
        completed: MeetingStatus.COMPLETED,
        retried: MeetingStatus.PENDING,
        failed: MeetingStatus.FAILED,
        processing: MeetingStatus.PROCESSING,
        pending: MeetingStatus.PENDING,
        cancelled: MeetingStatus.CANCELLED,
    }


@MOSTLY_IN_SQL
async def test_thousands_are_asked_for_in_one_call_and_none_is_no_question_about_all(world: QueueWorld) -> None:
    meeting_id = await world.enqueue()
    assert await world.store.statuses([]) == {}
    strangers = [uuid4() for _ in range(3000)]
    assert await world.store.statuses([*strangers, meeting_id]) == {meeting_id: MeetingStatus.PENDING}
