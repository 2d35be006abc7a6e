"""Names, merges and splits: who is who, as people see it. Holds for every store."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import done, is_refused, row_of, speaker_of, two_people

# --- names -------------------------------------------------------------------------------------------------------


async def test_a_name_shows_wherever_the_voice_does(world: QueueWorld) -> None:
    """In the meeting, among the people, and to workers."""
    meeting_id, anna, _ = await two_people(world)
    done(await world.store.name_speaker(anna, "  Anna "))
    assert await speaker_of(world, meeting_id) == (anna, "Anna")
    assert [person.name for person in await world.store.people()] == ["Anna", None]
    await world.enqueue()
    claim = await world.claim(await world.worker())
    known = await world.store.speakers(claim.meeting.id, claim.token, ["ge2e"])
    assert {person.id: person.name for person in known.speakers}[anna] == "Anna"


async def test_a_name_given_twice_is_there_already(world: QueueWorld) -> None:
    """A repeated call writes nothing."""
    _, anna, _ = await two_people(world)
    done(await world.store.name_speaker(anna, "Anna"))
    assert (await world.store.name_speaker(anna, " Anna")).outcome == "already_done"
    assert len(await world.store.decisions()) == 1


@pytest.mark.parametrize("nothing", [None, "", "  "])
async def test_a_name_can_be_taken_away(world: QueueWorld, nothing: str | None) -> None:
    """By no name at all."""
    meeting_id, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    done(await world.store.name_speaker(anna, nothing))
    assert await speaker_of(world, meeting_id) == (anna, None)


async def test_a_name_of_kilobytes_is_refused(world: QueueWorld) -> None:
    """With a sentence."""
    _, anna, _ = await two_people(world)
    assert (await world.store.name_speaker(anna, "ä" * 512)).outcome == "done"
    assert is_refused(await world.store.name_speaker(anna, "ä" * 512 + "n"))


async def test_a_name_written_into_the_table_is_a_decision_too(world: QueueWorld) -> None:
    """Who edits the table by hand can undo it as everybody can."""
    meeting_id, anna, _ = await two_people(world)
    world.name_speaker(anna, " Anna ")
    (decision,) = await world.store.decisions()
    assert (decision.kind, decision.speaker_id, decision.name, decision.decided_by) == ("named", anna, "Anna", "table")
    done(await world.store.undo_decision(decision.id))
    assert await speaker_of(world, meeting_id) == (anna, None)


async def test_who_loses_name_and_voices_is_nobody(world: QueueWorld) -> None:
    """By function or by hand, no empty row stays."""
    meeting_id, anna, bo = await two_people(world)
    world.name_speaker(anna, "Anna")
    world.name_speaker(bo, "Bo")
    world.delete_meeting(meeting_id)
    assert [row.name for row in sorted(world.speaker_rows(), key=lambda row: row.name or "")] == ["Anna", "Bo"]
    world.name_speaker(anna, "")
    done(await world.store.name_speaker(bo, None))
    assert world.speaker_rows() == []


# --- merges ------------------------------------------------------------------------------------------------------


async def test_two_who_are_one_become_one(world: QueueWorld) -> None:
    """One row with the voices of both; the meetings say so at once."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(bo, "Bo")
    done(await world.store.merge_speakers(anna, bo))
    assert await speaker_of(world, meeting_id, "SPEAKER_00") == (bo, "Bo")
    (row,) = world.speaker_rows()
    assert (row.id, row.name, row.num_embeddings, row.meeting_ids) == (bo, "Bo", 2, (meeting_id,))
    assert row.embedding == pytest.approx((0.894427, 0.447214), abs=2e-6)  # the mean of (0.6, 0.8) and (1, 0)


async def test_who_has_no_name_takes_that_of_who_went_in(world: QueueWorld) -> None:
    """A name once given is not lost by the order in which two are named for a merge."""
    meeting_id, anna, other = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    done(await world.store.merge_speakers(anna, other))
    assert await speaker_of(world, meeting_id) == (other, "Anna")


async def test_of_two_names_the_one_merged_last_is_taken(world: QueueWorld) -> None:
    """And the other, when that merge is undone."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    await world.store.name_speaker(bo, "Bo")
    third = await world.heard(await world.worker(), result("c", voices=(voice("SPEAKER_00"),)))
    nameless, _ = await speaker_of(world, third)
    assert nameless is not None
    await world.store.merge_speakers(anna, nameless)
    last = done(await world.store.merge_speakers(bo, nameless))
    assert await speaker_of(world, meeting_id) == (nameless, "Bo")
    await world.store.undo_decision(last)
    assert await speaker_of(world, meeting_id) == (nameless, "Anna")


async def test_who_was_merged_away_is_still_spoken_to(world: QueueWorld) -> None:
    """By the old id, as whom he or she became."""
    meeting_id, anna, bo = await two_people(world)
    await world.store.merge_speakers(anna, bo)
    assert (await world.store.merge_speakers(bo, anna)).outcome == "already_done"
    done(await world.store.name_speaker(anna, "Bo"))
    assert await speaker_of(world, meeting_id) == (bo, "Bo")


async def test_merges_go_on_from_merges(world: QueueWorld) -> None:
    """A into B, B into C: all is C; without the second step A is B again."""
    w1 = await world.worker()
    first, a, b = await two_people(world)
    second = await world.heard(w1, result("c", voices=(voice("SPEAKER_00"),)))
    c, _ = await speaker_of(world, second)
    assert c is not None
    await world.store.merge_speakers(a, b)
    step = done(await world.store.merge_speakers(b, c))
    assert {one.speaker_id for one in (await world.detail(first)).speakers} == {c}
    await world.store.undo_decision(step)
    assert {one.speaker_id for one in (await world.detail(first)).speakers} == {b}
    assert row_of(world, c).meeting_ids == (second,)


async def test_nobody_is_merged_across_owners(world: QueueWorld) -> None:
    """Somebody else's speaker is not there."""
    w1 = await world.worker()
    _, anna, _ = await two_people(world)
    owner = uuid4()
    theirs = await world.heard(w1, result("x"), user_id=owner, audio_path=f"{owner}/a.wav")
    stranger, _ = await speaker_of(world, theirs)
    assert stranger is not None
    assert (await world.store.merge_speakers(anna, stranger)).outcome == "gone"
    assert (await world.store.confirm_voice(theirs, "SPEAKER_00", anna)).outcome == "gone"
    assert len(await world.store.people(owner)) == 2


# --- splits ------------------------------------------------------------------------------------------------------


async def test_one_meetings_voice_is_split_off(world: QueueWorld) -> None:
    """The others stay where they are."""
    w1 = await world.worker()
    first, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    second = await world.heard(w1, result("b", voices=(voice("SPEAKER_00", speaker_id=anna),)))
    answer = await world.store.split_voice(second, "SPEAKER_00")
    done(answer)
    assert await speaker_of(world, second) == (answer.speaker_id, None)
    assert answer.speaker_id != anna
    assert await speaker_of(world, first) == (anna, "Anna")
    assert (row_of(world, anna).num_embeddings, row_of(world, anna).meeting_ids) == (1, (first,))
    assert (await world.store.split_voice(second, "SPEAKER_00")).outcome == "already_done"


# --- what is not there -------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_gone(world: QueueWorld) -> None:
    """Each with a sentence, and nothing is written."""
    meeting_id, anna, _ = await two_people(world)
    nobody = uuid4()
    answers = [
        await world.store.name_speaker(nobody, "Anna"),
        await world.store.merge_speakers(nobody, anna),
        await world.store.merge_speakers(anna, nobody),
        await world.store.split_voice(meeting_id, "SPEAKER_09"),
        await world.store.confirm_voice(nobody, "SPEAKER_00"),
        await world.store.confirm_voice(meeting_id, "SPEAKER_00", nobody),
        await world.store.reject_voice(nobody, "SPEAKER_00"),
        await world.store.undo_decision(12345),
        await world.store.forget_speaker(nobody),
        await world.store.keep_voice(nobody, kept=False),
    ]
    assert [answer.outcome for answer in answers] == ["gone"] * len(answers)
    assert all((answer.message or "").endswith(".") for answer in answers)
    assert await world.store.decisions() == ()


# --- looking -----------------------------------------------------------------------------------------------------


async def test_people_come_by_name_then_last_heard(world: QueueWorld) -> None:
    """With what is kept of each."""
    w1 = await world.worker()
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(bo, "Bo")
    await world.store.name_speaker(anna, "Anna")
    world.advance(10)
    later = await world.heard(w1, result("x", voices=(voice("SPEAKER_00"), voice("SPEAKER_01", speaker_id=anna))))
    newcomer, _ = await speaker_of(world, later)
    people = await world.store.people()
    assert [(one.id, one.name, one.num_meetings, one.num_voiceprints, one.speech_s) for one in people] == [
        (anna, "Anna", 2, 2, 8.0),
        (bo, "Bo", 1, 1, 4.0),
        (newcomer, None, 1, 1, 4.0),
    ]
    assert people[0].last_heard_at == (await world.detail(later)).meeting.created_at
    assert people[1].last_heard_at == (await world.detail(meeting_id)).meeting.created_at
    assert all(one.keeps_voice for one in people)


async def test_people_and_decisions_are_one_owners(world: QueueWorld) -> None:
    """The lab's are the lab's."""
    w1, owner = await world.worker(), uuid4()
    theirs = await world.heard(w1, result("x"), user_id=owner, audio_path=f"{owner}/a.wav")
    stranger, _ = await speaker_of(world, theirs)
    assert stranger is not None
    await world.store.name_speaker(stranger, "Cem")
    assert await world.store.people() == ()
    assert await world.store.decisions() == ()
    assert [one.user_id for one in await world.store.people(owner)] == [owner] * 2
    assert [one.user_id for one in await world.store.decisions(owner)] == [owner]


async def test_decisions_come_newest_first(world: QueueWorld) -> None:
    """As many as one asks for."""
    _, anna, bo = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    await world.store.merge_speakers(bo, anna)
    assert [one.kind for one in await world.store.decisions()] == ["merged", "named"]
    (newest,) = await world.store.decisions(limit=1)
    assert (newest.speaker_id, newest.other_speaker_id, newest.undone_at) == (anna, bo, None)
