"""Undoing what was decided, in any order. Holds for every store."""

from __future__ import annotations

import pytest

from tests.contract.conftest import MOSTLY_IN_SQL
from tests.support.queue_values import result, voice
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import done, is_refused, newest, one_voice, row_of, shown, speaker_of, two_people

pytestmark = MOSTLY_IN_SQL

# --- undo --------------------------------------------------------------------------------------------------------


async def test_an_undone_merge_gives_both_back(world: QueueWorld) -> None:
    """The same ids, names, voices and labels as before; what came after stays with whom it was said of."""
    w1 = await world.worker()
    meeting_id, anna, bo = await two_people(world)
    await world.store.name_speaker(anna, "Anna")
    before, labels = world.speaker_rows(), (await world.detail(meeting_id)).speakers
    merge = done(await world.store.merge_speakers(anna, bo))
    later = await world.heard(w1, result("x", voices=(voice("SPEAKER_00", speaker_id=bo),)))
    done(await world.store.undo_decision(merge))
    assert (await world.detail(meeting_id)).speakers == labels
    assert row_of(world, anna) == next(row for row in before if row.id == anna)
    assert set(row_of(world, bo).meeting_ids) == {meeting_id, later}


async def test_an_undone_decision_is_on_the_record(world: QueueWorld) -> None:
    """With when; and a second undo changes nothing."""
    _, anna, _ = await two_people(world)
    named = done(await world.store.name_speaker(anna, "Anna"))
    done(await world.store.undo_decision(named))
    (decision,) = await world.store.decisions()
    assert decision.undone_at is not None
    assert decision.undone_by is not None
    assert (await world.store.undo_decision(named)).outcome == "already_done"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_the_order_of_undoing_does_not_matter(world: QueueWorld, order: tuple[int, ...]) -> None:
    """Everything is as at the beginning."""
    meeting_id, anna, bo = await two_people(world)
    before, labels = world.speaker_rows(), (await world.detail(meeting_id)).speakers
    made = [
        done(await world.store.name_speaker(anna, "Anna")),
        done(await world.store.merge_speakers(anna, bo)),
        done(await world.store.split_voice(meeting_id, "SPEAKER_00")),
    ]
    for number in order:
        done(await world.store.undo_decision(made[number]))
    assert world.speaker_rows() == before
    assert (await world.detail(meeting_id)).speakers == labels


async def test_an_earlier_name_comes_back(world: QueueWorld) -> None:
    """Undoing the one in between changes nothing to be seen; undoing the newest leaves the one before."""
    meeting_id, anna, _ = await two_people(world)
    names = [done(await world.store.name_speaker(anna, name)) for name in ("A", "An", "Anna")]
    await world.store.undo_decision(names[1])
    assert await speaker_of(world, meeting_id) == (anna, "Anna")
    await world.store.undo_decision(names[2])
    assert await speaker_of(world, meeting_id) == (anna, "A")


async def test_a_worker_can_be_contradicted_by_undo(world: QueueWorld) -> None:
    """A voice that nobody identified is with a speaker of its own."""
    first, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "identified", anna)
    (identified,) = [one.id for one in await world.store.decisions() if one.kind == "identified"]
    done(await world.store.undo_decision(identified))
    seen = await shown(world, meeting_id)
    assert seen.speaker_id not in (None, anna)
    assert row_of(world, anna).meeting_ids == (first,)


async def test_a_rejection_undone_is_a_suggestion_again(world: QueueWorld) -> None:
    """And may be confirmed then."""
    _, anna, _ = await two_people(world)
    meeting_id = await one_voice(world, "suggested", anna)
    rejected = done(await world.store.reject_voice(meeting_id, "SPEAKER_00"))
    await world.store.undo_decision(rejected)
    assert (await shown(world, meeting_id)).suggested_id == anna
    done(await world.store.confirm_voice(meeting_id, "SPEAKER_00"))
    assert (await shown(world, meeting_id)).speaker_id == anna


@pytest.mark.parametrize("outcome", ["suggested", "unknown"])
async def test_what_places_nobody_is_not_undone(world: QueueWorld, outcome: str) -> None:
    """Refused with a sentence that says what to do."""
    _, anna, _ = await two_people(world)
    await one_voice(world, outcome, anna)
    assert is_refused(await world.store.undo_decision((await newest(world)).id))
