"""Who opts out, is forgotten, is deleted; and whom workers match against. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.contract.conftest import MOSTLY_IN_SQL
from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import done, is_refused, one_voice, row_of, speaker_of, two_people

pytestmark = MOSTLY_IN_SQL

# --- consent -----------------------------------------------------------------------------------------------------


async def test_who_opts_out_leaves_no_voice(world: QueueWorld) -> None:
    """None is kept, none is matched against, none is added later; name and transcripts stay."""
    w1 = await world.worker()
    meeting_id, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    done(await world.store.keep_voice(anna, kept=False))
    row = row_of(world, anna)
    assert (row.keeps_voice, row.num_embeddings, row.embedding) == (False, 0, None)
    assert await speaker_of(world, meeting_id) == (anna, "Anna")
    later = await world.heard(w1, result("x", voices=(voice("SPEAKER_00"),)))
    done(await world.store.confirm_voice(later, "SPEAKER_00", anna))
    assert row_of(world, anna).num_embeddings == 0
    await world.enqueue()
    claim = await world.claim(w1)
    known = await world.store.speakers(claim.meeting.id, claim.token, ["ge2e"])
    assert anna not in {person.id for person in known.speakers}


async def test_opting_in_again_brings_nothing_back(world: QueueWorld) -> None:
    """What was erased is gone; from now on voices are kept."""
    w1 = await world.worker()
    _, anna, _ = await two_people(world)
    out = done(await world.store.keep_voice(anna, kept=False))
    assert (await world.store.keep_voice(anna, kept=False)).outcome == "already_done"
    done(await world.store.undo_decision(out))
    assert (await world.store.keep_voice(anna, kept=True)).outcome == "already_done"
    assert (row_of(world, anna).keeps_voice, row_of(world, anna).num_embeddings) == (True, 0)
    await world.heard(w1, result("x", voices=(voice("SPEAKER_00", speaker_id=anna),)))
    assert row_of(world, anna).num_embeddings == 1


async def test_who_has_opted_out_is_merged_only_with_who_has_too(world: QueueWorld) -> None:
    """Else one of the two would be erased, or kept, against somebody's word. Opting in is then for both."""
    _, anna, bo = await two_people(world)
    await world.store.keep_voice(anna, kept=False)
    assert is_refused(await world.store.merge_speakers(anna, bo))
    await world.store.keep_voice(bo, kept=False)
    done(await world.store.merge_speakers(anna, bo))
    done(await world.store.keep_voice(anna, kept=True))
    assert row_of(world, bo).keeps_voice


async def test_who_went_in_opted_out_stays_so(world: QueueWorld) -> None:
    """Taking back the other's opting out keeps no voice of the two."""
    _, anna, bo = await two_people(world)
    await world.store.keep_voice(anna, kept=False)
    out = done(await world.store.keep_voice(bo, kept=False))
    await world.store.merge_speakers(anna, bo)
    done(await world.store.undo_decision(out))
    assert not row_of(world, bo).keeps_voice


async def test_a_forgotten_voice_does_not_come_back(world: QueueWorld) -> None:
    """By no undo; and whoever forgets has forgotten what was merged in as well."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(bo, "Bo")
    merge = done(await world.store.merge_speakers(anna, bo))
    forgotten = done(await world.store.forget_speaker(bo))
    assert (row_of(world, bo).name, row_of(world, bo).num_embeddings) == ("Bo", 0)
    assert (await world.store.undo_decision(forgotten)).outcome == "refused"
    await world.store.undo_decision(merge)
    assert [row.num_embeddings for row in world.speaker_rows()] == [0, 0]
    assert await speaker_of(world, meeting_id) == (anna, None)


async def test_who_is_forgotten_already_is_not_forgotten_twice(world: QueueWorld) -> None:
    """Unless something has been kept of the voice since."""
    _, anna, _ = await two_people(world)
    done(await world.store.forget_speaker(anna))
    assert (await world.store.forget_speaker(anna)).outcome == "already_done"
    meeting_id = await one_voice(world, "unknown", None)
    await world.store.confirm_voice(meeting_id, "SPEAKER_00", anna)
    assert row_of(world, anna).num_embeddings == 1
    done(await world.store.forget_speaker(anna))
    assert row_of(world, anna).num_embeddings == 0


# --- deleted -----------------------------------------------------------------------------------------------------


async def test_a_deleted_speakers_voices_are_nobodys(world: QueueWorld) -> None:
    """Also those that were merged in, for good; somebody may say whose they are."""
    meeting_id, anna, bo = await two_people(world)
    merge = done(await world.store.merge_speakers(anna, bo))
    world.delete_speaker(bo)
    await world.store.undo_decision(merge)
    assert world.speaker_rows() == []
    assert await speaker_of(world, meeting_id) == (None, None)
    deleted = [one.id for one in await world.store.decisions() if one.kind == "deleted"]
    assert {(await world.store.undo_decision(one)).outcome for one in deleted} == {"refused"}
    answer = await world.store.split_voice(meeting_id, "SPEAKER_00")
    done(answer)
    assert await speaker_of(world, meeting_id) == (answer.speaker_id, None)


async def test_a_deleted_speakers_name_is_gone(world: QueueWorld) -> None:
    """Also where undoing a split brings a voice back to that speaker."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(bo, "Bo")
    await world.store.merge_speakers(anna, bo)
    split = done(await world.store.split_voice(meeting_id, "SPEAKER_00"))
    world.delete_speaker(bo)
    await world.store.undo_decision(split)
    assert await speaker_of(world, meeting_id) == (bo, None)


async def test_a_deleted_meeting_takes_what_was_said_of_its_voices(world: QueueWorld) -> None:
    """Names and merges stay: they are about people."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    await world.store.merge_speakers(bo, anna)
    await world.store.split_voice(meeting_id, "SPEAKER_01")
    world.delete_meeting(meeting_id)
    assert [one.kind for one in await world.store.decisions()] == ["merged", "named"]
    assert [(row.id, row.name, row.num_embeddings) for row in world.speaker_rows()] == [(anna, "Anna", 0)]


# --- matched against whom ----------------------------------------------------------------------------------------


async def test_a_result_matched_against_yesterdays_people_is_stale(world: QueueWorld) -> None:
    """The answer brings today's, and with them it goes through."""
    w1 = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(w1)
    before = await world.store.speakers(meeting_id, claim.token, ["ge2e"])
    _, anna, _ = await two_people(world)
    sent = result("x").model_copy(update={"speakers_version": before.version})
    answer = await world.store.complete(meeting_id, claim.token, sent)
    assert answer.outcome == "stale_speakers"
    assert answer.known == await world.store.speakers(meeting_id, claim.token, ["ge2e"])
    assert answer.known is not None
    assert anna in {person.id for person in answer.known.speakers}
    again = sent.model_copy(update={"speakers_version": answer.known.version})
    assert (await world.store.complete(meeting_id, claim.token, again)).outcome == "completed"


async def test_ten_voices_of_each_person_are_known_the_confirmed_ones_first(world: QueueWorld) -> None:
    """Those that sounded unlike the others until somebody said so; then those made from most speech. Of that model."""
    w1 = await world.worker()
    _, anna, _ = await two_people(world)
    for number in range(10):
        heard = voice("SPEAKER_00", speaker_id=anna, vector=(1.0, float(number)))
        longer = [one.model_copy(update={"speech_s": 5.0 + number}) for one in heard.embeddings]
        await world.heard(w1, result("x", voices=(heard.model_copy(update={"embeddings": tuple(longer)}),)))
    telephone = voice("SPEAKER_00", vector=(0.0, 1.0))
    called = await world.heard(w1, result("x", voices=(telephone,)))
    done(await world.store.confirm_voice(called, "SPEAKER_00", anna))
    await world.enqueue()
    claim = await world.claim(w1)
    known = await world.store.speakers(claim.meeting.id, claim.token, ["ge2e"])
    theirs = {person.id: person for person in known.speakers}[anna]
    longest = {(1.0, float(number)) for number in range(1, 10)}
    assert {one.vector for one in theirs.embeddings} == longest | {(0.0, 1.0)}
    assert (await world.store.speakers(claim.meeting.id, claim.token, ["another"])).speakers == ()


@pytest.mark.parametrize("change", ["named", "merged", "deleted", "meeting deleted", "opted out", "split"])
async def test_every_change_of_people_is_a_new_version(world: QueueWorld, change: str) -> None:
    """Of that owner's, and of nobody else's."""
    meeting_id, anna, bo = await two_people(world)
    owner = uuid4()
    w1 = await world.worker()
    ours, theirs = await world.enqueue(), await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav")
    claims = {claim.meeting.id: claim for claim in [await world.claim(w1), await world.claim(w1)]}
    before = [(await world.store.speakers(one, claims[one].token, [])).version for one in (ours, theirs)]
    await {
        "named": lambda: world.store.name_speaker(anna, "Anna"),
        "merged": lambda: world.store.merge_speakers(anna, bo),
        "opted out": lambda: world.store.keep_voice(anna, kept=False),
        "split": lambda: world.store.confirm_voice(meeting_id, "SPEAKER_00", bo),
    }.get(change, lambda: world.store.people())()
    if change == "deleted":
        world.delete_speaker(anna)
    if change == "meeting deleted":
        world.delete_meeting(meeting_id)
    after = [(await world.store.speakers(one, claims[one].token, [])).version for one in (ours, theirs)]
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)
