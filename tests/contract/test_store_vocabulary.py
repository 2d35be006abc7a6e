"""Names and terms that may occur: who adds them, and which of them a meeting gets. Holds for every store."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import PostgresWorld, QueueWorld
from worker.exceptions import LeaseLostError, MeetingCancelledError, MeetingGoneError, SupabaseQueryError
from worker.models import Claim


async def claimed(world: QueueWorld, owner: UUID | None = None) -> Claim:
    """A meeting of that owner in work; whoever owns a meeting may sign in."""
    folder = "lab" if owner is None else str(owner)
    await world.enqueue(user_id=owner, audio_path=f"{folder}/a.wav")
    return await world.claim(await world.worker())


async def words_for(world: QueueWorld, claim: Claim) -> tuple[str, ...]:
    return await world.store.vocabulary(claim.meeting.id, claim.token)


# --- a worker asks -----------------------------------------------------------------------------------------------


async def test_without_a_vocabulary_a_meeting_gets_no_words(world: QueueWorld) -> None:
    """As it was before there was one."""
    assert await words_for(world, await claimed(world)) == ()


async def test_a_meeting_gets_its_owners_words_and_then_the_labs(world: QueueWorld) -> None:
    """Each in the order in which they were added: of too many, the last are cut. Nobody else's."""
    owner, other = uuid4(), uuid4()
    claim = await claimed(world, owner)
    await world.enqueue(user_id=other, audio_path=f"{other}/a.wav")
    await world.store.add_words(["gluon", "Ada Lovelace"])
    await world.store.add_words(["zeta function", "axion"], owner)
    await world.store.add_words(["secret project"], other)
    assert await words_for(world, claim) == ("zeta function", "axion", "gluon", "Ada Lovelace")


async def test_a_meeting_of_the_lab_gets_the_labs_words_alone(world: QueueWorld) -> None:
    """What belongs to nobody is not everybody's."""
    owner = uuid4()
    await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav", priority=-1)
    await world.store.add_words(["axion"], owner)
    await world.store.add_words(["gluon"])
    assert await words_for(world, await claimed(world)) == ("gluon",)


async def test_only_who_works_on_the_meeting_is_told(world: QueueWorld) -> None:
    """The token proves it, as for every other word about a meeting."""
    claim = await claimed(world)
    with pytest.raises(LeaseLostError):
        await world.store.vocabulary(claim.meeting.id, claim.token + 1)
    with pytest.raises(MeetingGoneError):
        await world.store.vocabulary(uuid4(), claim.token)
    await world.store.cancel(claim.meeting.id)
    with pytest.raises(MeetingCancelledError):
        await words_for(world, claim)


async def test_a_meeting_that_is_done_tells_no_more(world: QueueWorld) -> None:
    """Its token is used up."""
    claim = await claimed(world)
    await world.store.complete(claim.meeting.id, claim.token, result("hello"))
    with pytest.raises(LeaseLostError):
        await words_for(world, claim)


# --- people add and remove ---------------------------------------------------------------------------------------


async def test_words_are_listed_as_they_were_added(world: QueueWorld) -> None:
    """Tidied, and with their capitals."""
    assert await world.store.words() == ()
    assert await world.store.add_words(["gluon", "  Ada \n Lovelace "]) == ("gluon", "Ada Lovelace")
    await world.store.add_words(["Fermi"])
    assert await world.store.words() == ("gluon", "Ada Lovelace", "Fermi")


async def test_a_word_is_added_once(world: QueueWorld) -> None:
    """Whatever its capitals; the first spelling stays. The answer says what is new."""
    assert await world.store.add_words(["gluon", "Gluon"]) == ("gluon",)
    assert await world.store.add_words(["GLUON", "meson"]) == ("meson",)
    assert await world.store.add_words(["Meson"]) == ()
    assert await world.store.words() == ("gluon", "meson")


async def test_a_user_may_have_a_word_of_the_labs(world: QueueWorld) -> None:
    """The two vocabularies know nothing of each other."""
    claim = await claimed(world, owner := uuid4())
    await world.store.add_words(["gluon"])
    assert await world.store.add_words(["Gluon"], owner) == ("Gluon",)
    assert await words_for(world, claim) == ("Gluon", "gluon")
    assert await world.store.remove_words(["gluon"], owner) == ("Gluon",)
    assert (await world.store.words(), await world.store.words(owner)) == (("gluon",), ())


async def test_words_are_removed_whatever_their_capitals(world: QueueWorld) -> None:
    """The answer says which were there."""
    await world.store.add_words(["gluon", "Ada Lovelace", "meson"])
    assert await world.store.remove_words(["ADA  lovelace", "MESON", "axion"]) == ("Ada Lovelace", "meson")
    assert await world.store.words() == ("gluon",)


@pytest.mark.parametrize("word", ["", " \n ", "x" * 61, "one, two", "one; two", "bell\x07"])
async def test_what_is_no_word_is_refused_in_a_sentence(world: QueueWorld, word: str) -> None:
    """And nothing of the request is done."""
    with pytest.raises(SupabaseQueryError, match="has 1 to 60 characters, and no comma"):
        await world.store.add_words(["gluon", word])
    assert await world.store.words() == ()


async def test_a_vocabulary_has_an_end(world: QueueWorld) -> None:
    """So that nobody slows every meeting down; each owner has a limit of his or her own."""
    claim = await claimed(world, owner := uuid4())
    full = [f"word {number}" for number in range(500)]
    assert len(await world.store.add_words(full)) == 500
    with pytest.raises(SupabaseQueryError, match="at most 500 words"):
        await world.store.add_words(["one more"])
    assert await world.store.add_words(["Word 7"]) == ()
    await world.store.add_words(["axion"], owner)
    assert len(await words_for(world, claim)) == 501


# --- what only a database can show -------------------------------------------------------------------------------


async def test_two_who_add_at_once_do_not_pass_the_limit(postgres: PostgresWorld) -> None:
    """The second waits for the first, and counts its words."""
    await postgres.store.add_words([f"word {number}" for number in range(499)])
    insert = "insert into public.vocabulary (word) values (%s)"
    with psycopg.connect(postgres.dsn) as first, psycopg.connect(postgres.dsn) as second:
        first.execute(insert, ["one"])
        second.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(insert, ["two"])
        second.rollback()
        first.commit()
        with pytest.raises(psycopg.errors.RaiseException, match="at most 500"):
            second.execute(insert, ["two"])


async def test_a_word_that_is_edited_by_hand_is_checked_as_well(postgres: PostgresWorld) -> None:
    """The table editor is open to people."""
    await postgres.store.add_words(["gluon"])
    postgres.edit("update public.vocabulary set word = %s", "  the  gluon ")
    assert await postgres.store.words() == ("the gluon",)
    with pytest.raises(SupabaseQueryError, match="no comma"):
        postgres.edit("update public.vocabulary set word = %s", "gluon, meson")
