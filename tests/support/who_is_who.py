"""Meetings to decide about who is who, and what a test sees of it."""

from __future__ import annotations

from uuid import UUID

from tests.support.queue_values import SpeakerSeen, matched, result
from tests.support.queue_worlds import QueueWorld
from worker.models import Decision, MeetingSpeaker, WriteAnswer


async def two_people(world: QueueWorld) -> tuple[UUID, UUID, UUID]:
    """A meeting, and whose its voices SPEAKER_00 and SPEAKER_01 are."""
    meeting_id = await world.completed(await world.worker("first", host="pc-first"))
    first, second = (one.speaker_id for one in (await world.detail(meeting_id)).speakers)
    assert first is not None
    assert second is not None
    return meeting_id, first, second


async def one_voice(world: QueueWorld, outcome: str, speaker_id: UUID | None) -> UUID:
    """A second meeting, whose only voice was matched like that."""
    info = await world.worker("second", host="pc-second")
    return await world.heard(info, result("x", voices=(matched("SPEAKER_00", outcome, speaker_id),)))


async def shown(world: QueueWorld, meeting_id: UUID) -> MeetingSpeaker:
    """The first voice."""
    return (await world.detail(meeting_id)).speakers[0]


async def speaker_of(world: QueueWorld, meeting_id: UUID, label: str = "SPEAKER_00") -> tuple[UUID | None, str | None]:
    """Whose a voice is, with the name."""
    found = {one.label: one for one in (await world.detail(meeting_id)).speakers}[label]
    return found.speaker_id, found.name


async def newest(world: QueueWorld) -> Decision:
    return (await world.store.decisions(limit=1))[0]


def row_of(world: QueueWorld, speaker_id: UUID) -> SpeakerSeen:
    return next(row for row in world.speaker_rows() if row.id == speaker_id)


def done(answer: WriteAnswer) -> int:
    """By which the decision can be undone."""
    assert answer.outcome == "done", answer
    assert answer.decision_id is not None
    return answer.decision_id


def is_refused(answer: WriteAnswer) -> bool:
    """With a sentence."""
    return answer.outcome == "refused" and (answer.message or "").endswith(".")
