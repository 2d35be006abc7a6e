"""What workers and people decide about a voice: identified, suggested, confirmed, rejected. Holds for every store."""

from __future__ import annotations

import pytest

from tests.contract.conftest import MOSTLY_IN_SQL
from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import done, is_refused, newest, one_voice, row_of, shown, speaker_of, two_people

pytestmark = MOSTLY_IN_SQL

# --- by the worker -----------------------------------------------------------------------------------------------


async def test_a_worker_says_why(world: QueueWorld) -> None:
    """Score, runner-up, thresholds and model are kept with the decision."""
    _, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    meeting_id = await one_voice(world, "identified", anna)
    decision = await newest(world)
    assert (decision.kind, decision.speaker_id, decision.meeting_id, decision.label) == (
        "identified",
        anna,
        meeting_id,
        "SPEAKER_00",
    )
    assert (decision.score, decision.runner_up_score, decision.model) == (0.875, 0.25, "ge2e")
    assert decision.thresholds == {"confirm_from": 0.75, "suggest_from": 0.5, "margin": 0.125}
    assert decision.decided_by == "worker:second"
    seen = await shown(world, meeting_id)
    assert (seen.speaker_id, seen.name, seen.decision, seen.score) == (anna, "Anna", "identified", 0.875)


async def test_a_suggestion_is_no_name(world: QueueWorld) -> None:
    """The voice has a speaker of its own until somebody says; the suggestion is shown with the name."""
    _, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    meeting_id = await one_voice(world, "suggested", anna)
    seen = await shown(world, meeting_id)
    assert (seen.name, seen.suggested_id, seen.suggested_name, seen.decision) == (None, anna, "Anna", "suggested")
    assert seen.speaker_id not in (None, anna)
    assert row_of(world, anna).num_embeddings == 1


async def test_an_unknown_voice_is_on_the_record_too(world: QueueWorld) -> None:
    """With who came nearest."""
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "unknown", anna)
    decision = await newest(world)
    assert (decision.kind, decision.speaker_id, decision.score) == ("unknown", anna, 0.875)
    seen = await shown(world, meeting_id)
    assert (seen.suggested_id, seen.decision) == (None, "unknown")


async def test_a_suggestion_ends_with_whom_it_suggests(world: QueueWorld) -> None:
    """Whoever was deleted is not suggested any more; whoever was merged is, as whom he or she became."""
    _, anna, bo = await two_people(world)
    meeting_id = await one_voice(world, "suggested", anna)
    await world.store.merge_speakers(anna, bo)
    assert (await shown(world, meeting_id)).suggested_id == bo
    world.delete_speaker(bo)
    assert (await shown(world, meeting_id)).suggested_id is None


# --- confirmed ---------------------------------------------------------------------------------------------------


async def test_a_suggestion_is_confirmed(world: QueueWorld) -> None:
    """The voice is the suggested person's, and its own speaker is no more."""
    first, anna, _ = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    meeting_id = await one_voice(world, "suggested", anna)
    answer = await world.store.confirm_voice(meeting_id, "SPEAKER_00")
    done(answer)
    assert answer.speaker_id == anna
    seen = await shown(world, meeting_id)
    assert (seen.speaker_id, seen.name, seen.suggested_id, seen.decision) == (anna, "Anna", None, "confirmed")
    assert set(row_of(world, anna).meeting_ids) == {first, meeting_id}
    assert len(world.speaker_rows()) == 2
    assert (await world.store.confirm_voice(meeting_id, "SPEAKER_00")).outcome == "already_done"


async def test_somebody_else_may_be_meant(world: QueueWorld) -> None:
    """Whoever confirms says whose the voice is, whatever was suggested."""
    _, anna, bo = await two_people(world)
    meeting_id = await one_voice(world, "suggested", anna)
    done(await world.store.confirm_voice(meeting_id, "SPEAKER_00", bo))
    seen = await shown(world, meeting_id)
    assert (seen.speaker_id, seen.suggested_id) == (bo, None)
    assert (await world.store.confirm_voice(meeting_id, "SPEAKER_00", bo)).outcome == "already_done"


async def test_what_the_worker_took_for_certain_can_be_confirmed(world: QueueWorld) -> None:
    """It changes nothing but who says so."""
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "identified", anna)
    done(await world.store.confirm_voice(meeting_id, "SPEAKER_00"))
    seen = await shown(world, meeting_id)
    assert (seen.speaker_id, seen.decision) == (anna, "confirmed")


async def test_without_a_suggestion_somebody_has_to_be_named(world: QueueWorld) -> None:
    """Refused with a sentence; likewise a rejection of nothing."""
    meeting_id, _, _ = await two_people(world)
    assert is_refused(await world.store.confirm_voice(meeting_id, "SPEAKER_00"))
    assert is_refused(await world.store.reject_voice(meeting_id, "SPEAKER_00"))


# --- rejected ----------------------------------------------------------------------------------------------------


async def test_a_suggestion_is_rejected(world: QueueWorld) -> None:
    """The voice stays with its own speaker, and nobody is suggested any more."""
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "suggested", anna)
    own = (await shown(world, meeting_id)).speaker_id
    done(await world.store.reject_voice(meeting_id, "SPEAKER_00"))
    seen = await shown(world, meeting_id)
    assert (seen.speaker_id, seen.suggested_id, seen.decision) == (own, None, "rejected")
    assert (await newest(world)).other_speaker_id == anna


@pytest.mark.parametrize("outcome", ["suggested", "identified"])
async def test_a_rejection_is_repeated_without_harm(world: QueueWorld, outcome: str) -> None:
    """Whoever lost the answer must not read that there was nothing to reject."""
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, outcome, anna)
    done(await world.store.reject_voice(meeting_id, "SPEAKER_00"))
    seen = await shown(world, meeting_id)
    assert (await world.store.reject_voice(meeting_id, "SPEAKER_00")).outcome == "already_done"
    assert await shown(world, meeting_id) == seen


async def test_whom_the_worker_took_it_for_is_rejected(world: QueueWorld) -> None:
    """The voice leaves with all it gave."""
    first, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "identified", anna)
    answer = await world.store.reject_voice(meeting_id, "SPEAKER_00")
    done(answer)
    assert await speaker_of(world, meeting_id) == (answer.speaker_id, None)
    assert answer.speaker_id not in (None, anna)
    assert (row_of(world, anna).num_embeddings, row_of(world, anna).meeting_ids) == (1, (first,))


# --- done anew ---------------------------------------------------------------------------------------------------


async def test_what_was_said_of_a_voice_ends_with_it(world: QueueWorld) -> None:
    """Done anew, the labels are others; nobody's confirmation is carried over to a voice that nobody heard."""
    w1 = await world.worker()
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "suggested", anna)
    confirmed = done(await world.store.confirm_voice(meeting_id, "SPEAKER_00"))
    await world.heard_anew(w1, meeting_id, result("anew", voices=(voice("SPEAKER_00"),)))
    seen = await shown(world, meeting_id)
    assert seen.speaker_id not in (None, anna)
    assert (seen.decision, row_of(world, anna).num_embeddings) == (None, 1)
    assert (await world.store.undo_decision(confirmed)).outcome == "done"
    assert await shown(world, meeting_id) == seen


async def test_a_named_person_keeps_the_voice_of_an_earlier_result(world: QueueWorld) -> None:
    """Also when the name went to another by a merge; and loses it when the name goes."""
    w1 = await world.worker()
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    await world.store.merge_speakers(anna, bo)
    await world.heard_anew(w1, meeting_id, result("anew", voices=()))
    assert (row_of(world, bo).num_embeddings, row_of(world, bo).meeting_ids) == (2, ())
    await world.heard_anew(w1, meeting_id, result("again", voices=(voice("SPEAKER_00", speaker_id=bo),)))
    assert (row_of(world, bo).num_embeddings, row_of(world, bo).meeting_ids) == (1, (meeting_id,))
