"""Voices that are described anew, by a new model. Holds for every store."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import row_of, two_people
from worker.models import SpeakerEmbedding

OLD, NEW = "ge2e", "newer"


def described(label: str, model: str = NEW) -> SpeakerEmbedding:
    return SpeakerEmbedding(label=label, model=model, dim=2, vector=(1.0, 0.0), speech_s=9.0)


async def completed_at(world: QueueWorld, meeting_id: UUID) -> datetime:
    at = (await world.detail(meeting_id)).meeting.completed_at
    assert at is not None
    return at


async def refreshed(world: QueueWorld, meeting_id: UUID, *embeddings: SpeakerEmbedding) -> str:
    at = await completed_at(world, meeting_id)
    return (await world.store.refresh_voices(meeting_id, at, embeddings)).outcome


async def done_anew(world: QueueWorld, meeting_id: UUID, *labels: str) -> None:
    assert (await world.store.retry(meeting_id)).outcome == "pending"
    world.advance(1)
    claim = await world.claim(await world.worker("second", host="pc-second"))
    voices = tuple(voice(label) for label in labels)
    assert (await world.store.complete(meeting_id, claim.token, result("x", voices=voices))).outcome == "completed"


async def test_a_voice_that_only_another_model_has_described_is_stale(world: QueueWorld) -> None:
    """Until it is described anew; newest meetings first."""
    info = await world.worker()
    first = await world.completed(info)
    world.advance(1)
    second = await world.completed(info)
    assert set(await world.store.stale_voices([NEW])) == {first, second}
    assert await world.store.stale_voices([NEW, OLD]) == ()
    assert await refreshed(world, first, described("SPEAKER_00"), described("SPEAKER_01")) == "done"
    assert await world.store.stale_voices([NEW]) == (second,)
    assert await refreshed(world, first, described("SPEAKER_00")) == "already_done"


async def test_a_voice_of_which_nothing_was_kept_is_not_stale(world: QueueWorld) -> None:
    """Whoever wanted that wants it still; named by its meeting, it may be described."""
    silent = voice("SPEAKER_00").model_copy(update={"embeddings": ()})
    info, meeting_id = await world.worker(), await world.enqueue()
    claim = await world.claim(info)
    await world.store.complete(meeting_id, claim.token, result("x", voices=(silent,)))
    assert await world.store.stale_voices([NEW]) == ()
    assert await refreshed(world, meeting_id, described("SPEAKER_00")) == "done"


async def test_the_speaker_has_the_new_description_beside_the_old_one(world: QueueWorld) -> None:
    """So workers with either model know who it is."""
    meeting_id, anna, _ = await two_people(world)
    await refreshed(world, meeting_id, described("SPEAKER_00"))
    assert row_of(world, anna).num_embeddings == 2
    assert row_of(world, anna).embedding == (1.0, 0.0)  # made from more speech
    await world.enqueue()
    claim = await world.claim(await world.worker("second", host="pc-second"))
    known = await world.store.speakers(claim.meeting.id, claim.token, [NEW])
    assert [(one.id, [e.model for e in one.embeddings]) for one in known.speakers] == [(anna, [NEW])]


async def test_a_new_description_changes_whom_workers_know(world: QueueWorld) -> None:
    """A result that was matched before it came is matched again."""
    meeting_id, _, _ = await two_people(world)
    await world.enqueue()
    claim = await world.claim(await world.worker("second", host="pc-second"))
    known = await world.store.speakers(claim.meeting.id, claim.token, [NEW])
    await refreshed(world, meeting_id, described("SPEAKER_00"))
    outdated = result("x").model_copy(update={"speakers_version": known.version})
    assert (await world.store.complete(claim.meeting.id, claim.token, outdated)).outcome == "stale_speakers"


async def test_an_erased_voice_stays_erased(world: QueueWorld) -> None:
    """As does that of who has opted out."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.forget_speaker(anna)
    await world.store.keep_voice(bo, kept=False)
    assert await world.store.stale_voices([NEW]) == ()
    assert await refreshed(world, meeting_id, described("SPEAKER_00"), described("SPEAKER_01")) == "already_done"
    assert {row.num_embeddings for row in world.speaker_rows()} == {0}


async def test_labels_of_another_result_are_not_taken_for_those_of_this_one(world: QueueWorld) -> None:
    """The meeting was done anew while its voices were described; what a named speaker kept of before stays as it is."""
    meeting_id, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    before = await completed_at(world, meeting_id)
    await done_anew(world, meeting_id, "SPEAKER_00")
    answer = await world.store.refresh_voices(meeting_id, before, [described("SPEAKER_00")])
    assert (answer.outcome, (answer.message or "")[-1:]) == ("refused", ".")
    assert await refreshed(world, meeting_id, described("SPEAKER_00"), described("SPEAKER_01")) == "done"
    assert row_of(world, anna).num_embeddings == 1
    assert sum(row.num_embeddings for row in world.speaker_rows()) == 3


async def test_a_meeting_that_is_done_anew_at_this_moment_is_left_alone(world: QueueWorld) -> None:
    meeting_id, _, _ = await two_people(world)
    at = await completed_at(world, meeting_id)
    await world.store.retry(meeting_id)
    assert await world.store.stale_voices([NEW]) == ()
    assert (await world.store.refresh_voices(meeting_id, at, [described("SPEAKER_00")])).outcome == "refused"


async def test_a_meeting_that_is_not_there_is_gone(world: QueueWorld) -> None:
    meeting_id, _, _ = await two_people(world)
    at = await completed_at(world, meeting_id)
    assert (await world.store.refresh_voices(uuid4(), at, [])).outcome == "gone"
