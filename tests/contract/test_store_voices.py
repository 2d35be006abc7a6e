"""What is known of voices: speakers, embeddings, names. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from worker.exceptions import LeaseLostError, MeetingCancelledError, MeetingGoneError
from worker.models import MeetingStatus

# --- voices ------------------------------------------------------------------------------------------------------


async def test_each_voice_gets_an_unnamed_speaker_with_its_embeddings(world: QueueWorld) -> None:
    """What recognising them in the next meeting needs."""
    w1 = await world.worker()
    owner = uuid4()
    meeting_id = await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav")
    claim = await world.claim(w1)
    await world.store.complete(meeting_id, claim.token, result("hello"))
    rows = world.speaker_rows()
    assert [(row.name, row.user_id, row.meeting_ids, row.num_embeddings) for row in rows] == [
        (None, owner, (meeting_id,), 1)
    ] * 2
    assert sorted(row.embedding or () for row in rows) == [(0.6, 0.8), (1.0, 0.0)]
    detail = await world.detail(meeting_id)
    assert {one.speaker_id for one in detail.speakers} == {row.id for row in rows}


async def test_done_anew_leaves_no_orphan_speakers(world: QueueWorld) -> None:
    """The unnamed speakers of the first result go with it."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    before = {row.id for row in world.speaker_rows()}
    await world.store.retry(meeting_id)
    claim = await world.claim(w1)
    await world.store.complete(meeting_id, claim.token, result("anew"))
    after = world.speaker_rows()
    assert len(after) == 2
    assert not before & {row.id for row in after}


async def test_a_named_speaker_outlives_every_retry(world: QueueWorld) -> None:
    """With the name and the voice that somebody gave it."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    await world.store.retry(meeting_id)
    claim = await world.claim(w1)
    await world.store.complete(meeting_id, claim.token, result("anew"))
    row = next(row for row in world.speaker_rows() if row.id == anna)
    assert (row.name, row.num_embeddings, row.meeting_ids) == ("Anna", 1, ())
    assert len(world.speaker_rows()) == 3


async def test_a_recognised_voice_joins_its_speaker(world: QueueWorld) -> None:
    """One more embedding, one more meeting, the same name; no new speaker."""
    w1 = await world.worker()
    first = await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    second = await world.enqueue()
    claim = await world.claim(w1)
    recognised = result("again", voices=(voice("SPEAKER_00", speaker_id=anna),))
    assert (await world.store.complete(second, claim.token, recognised)).outcome == "completed"
    row = next(row for row in world.speaker_rows() if row.id == anna)
    assert (row.name, row.num_embeddings, set(row.meeting_ids)) == ("Anna", 2, {first, second})
    assert [(one.name, one.speaker_id) for one in (await world.detail(second)).speakers] == [("Anna", anna)]
    assert len(world.speaker_rows()) == 2


async def test_a_recognised_voice_is_not_doubled_by_a_retry(world: QueueWorld) -> None:
    """The meeting's own embeddings are replaced, not added."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    for _ in range(2):
        await world.store.retry(meeting_id)
        claim = await world.claim(w1)
        recognised = result("again", voices=(voice("SPEAKER_00", speaker_id=anna),))
        await world.store.complete(meeting_id, claim.token, recognised)
    assert [(row.id, row.num_embeddings, row.meeting_ids) for row in world.speaker_rows()] == [(anna, 1, (meeting_id,))]


async def test_an_unnamed_speaker_that_another_meeting_uses_stays(world: QueueWorld) -> None:
    """A retry of the first meeting takes back only its own part."""
    w1 = await world.worker()
    first = await world.completed(w1)
    shared = world.speaker_rows()[0].id
    second = await world.enqueue()
    claim = await world.claim(w1)
    await world.store.complete(second, claim.token, result("b", voices=(voice("SPEAKER_00", speaker_id=shared),)))
    await world.store.retry(first)
    claim = await world.claim(w1)
    await world.store.complete(first, claim.token, result("a", voices=()))
    assert [(row.id, row.num_embeddings, row.meeting_ids) for row in world.speaker_rows()] == [(shared, 1, (second,))]


@pytest.mark.parametrize("whose", ["nobody's", "another owner's"])
async def test_a_speaker_that_is_not_the_owners_is_stale(world: QueueWorld, whose: str) -> None:
    """Deleted since, or never theirs: nothing is written, and the worker matches again."""
    w1 = await world.worker()
    await world.completed(w1)
    speaker_id = world.speaker_rows()[0].id
    owner = uuid4() if whose == "another owner's" else None
    if owner is None:
        world.delete_speaker(speaker_id)
    meeting_id = await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav")
    claim = await world.claim(w1)
    matched = result("x", voices=(voice("SPEAKER_00", speaker_id=speaker_id),))
    assert (await world.store.complete(meeting_id, claim.token, matched)).outcome == "stale_speakers"
    assert await world.status_of(meeting_id) is MeetingStatus.PROCESSING
    assert (await world.store.complete(meeting_id, claim.token, result("x"))).outcome == "completed"


async def test_deleting_a_meeting_deletes_its_voices(world: QueueWorld) -> None:
    """A voice is biometric data: unnamed speakers go, a named one loses what this meeting gave."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    world.delete_meeting(meeting_id)
    assert [(row.id, row.num_embeddings, row.meeting_ids, row.embedding) for row in world.speaker_rows()] == [
        (anna, 0, (), None)
    ]


async def test_deleting_a_speaker_keeps_the_transcript(world: QueueWorld) -> None:
    """The voice stays a label."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1, "hello")
    for row in world.speaker_rows():
        world.delete_speaker(row.id)
    detail = await world.detail(meeting_id)
    assert [(one.label, one.speaker_id, one.name) for one in detail.speakers] == [
        ("SPEAKER_00", None, None),
        ("SPEAKER_01", None, None),
    ]
    assert await world.texts(meeting_id) == ["hello"]


async def test_a_holder_sees_the_speakers_of_the_meetings_owner_only(world: QueueWorld) -> None:
    """With their embeddings; voices are matched only within one owner."""
    w1 = await world.worker()
    await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    owner = uuid4()
    await world.enqueue("ours")
    ours = await world.claim(w1)
    await world.enqueue("theirs", user_id=owner, audio_path=f"{owner}/a.wav")
    theirs = await world.claim(w1)
    known = await world.store.speakers(ours.meeting.id, ours.token, ["ge2e"])
    assert {person.name for person in known.speakers} == {"Anna", None}
    assert {person.embeddings[0].vector for person in known.speakers} == {(0.6, 0.8), (1.0, 0.0)}
    assert (await world.store.speakers(theirs.meeting.id, theirs.token, ["ge2e"])).speakers == ()


async def test_a_meeting_done_anew_does_not_recognise_itself(world: QueueWorld) -> None:
    """Its own unnamed voices of the first time are no people it could meet; a named one is."""
    w1 = await world.worker()
    meeting_id = await world.completed(w1)
    anna = world.speaker_rows()[0].id
    world.name_speaker(anna, "Anna")
    await world.store.retry(meeting_id)
    claim = await world.claim(w1)
    known = await world.store.speakers(meeting_id, claim.token, ["ge2e"])
    assert [person.id for person in known.speakers] == [anna]


async def test_speakers_are_only_for_the_holder(world: QueueWorld) -> None:
    """Who lost the lease learns that instead, by the fitting error."""
    w1 = await world.worker()
    ids = [await world.enqueue(title) for title in "abc"]
    claims = [await world.claim(w1) for _ in ids]
    await world.store.release(ids[0], claims[0].token)
    await world.store.cancel(ids[1])
    world.delete_meeting(ids[2])
    for claim, error in zip(claims, (LeaseLostError, MeetingCancelledError, MeetingGoneError), strict=True):
        with pytest.raises(LeaseLostError) as caught:
            await world.store.speakers(claim.meeting.id, claim.token, ["ge2e"])
        assert type(caught.value) is error
