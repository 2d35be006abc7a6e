"""
Whatever people and engines write is kept as they wrote it and comes back so, over every transport; only what no
database can hold (NUL, halves of characters) is left out or replaced. Nothing of it is ever obeyed.
"""

from __future__ import annotations

import pytest

from tests.support.nasty_text import NASTY
from tests.support.queue_values import result
from tests.support.queue_worlds import QueueWorld
from tests.support.who_is_who import two_people
from worker.adapters.store_wire import storable
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import Failure, MeetingStatus, SummaryItem

pytestmark = pytest.mark.parametrize("world", ["memory", "postgres", "supabase-worker"], indirect=True)


def kept(text: str | None) -> str:
    """The memory twin keeps what a database cannot."""
    cleaned = storable(text or "")
    assert isinstance(cleaned, str)
    return cleaned


async def test_titles_prompts_and_transcripts_come_back_as_they_were(world: QueueWorld) -> None:
    """From a person through the queue to the worker, and from the worker's engines back to the person."""
    info = await world.worker()
    for text in NASTY:
        meeting_id = await world.enqueue(text, prompt=text, hotwords=text)
        claim = await world.claim(info)
        asked = claim.meeting
        assert [kept(one) for one in (asked.title, asked.prompt, asked.hotwords)] == [kept(text)] * 3
        sent = result(text)
        assert sent.summary is not None
        summary = sent.summary.model_copy(update={"overview": text, "decisions": (SummaryItem(text=text, owner=text),)})
        answer = await world.store.complete(meeting_id, claim.token, sent.model_copy(update={"summary": summary}))
        assert answer.outcome == "completed"
        found = await world.detail(meeting_id)
        assert (kept(found.segments[0].text), kept(found.segments[0].words[0].text)) == (kept(text), kept(text))
        assert found.summary is not None
        assert (kept(found.summary.overview), kept(found.summary.decisions[0].owner)) == (kept(text), kept(text))
    assert len(await world.store.meetings(MeetingStatus.COMPLETED)) == len(NASTY)


@pytest.mark.slow
async def test_codes_and_sentences_of_failures_come_back_as_they_were(world: QueueWorld) -> None:
    info = await world.worker()
    for text in NASTY:
        meeting_id = await world.enqueue()
        claim = await world.claim(info)
        failure = Failure(kind=FailureKind.PERMANENT, code="odd", message=text)
        assert (await world.store.fail(meeting_id, claim.token, failure)).outcome == "failed"
        assert kept((await world.detail(meeting_id)).meeting.error_message) == kept(text)


async def test_names_of_people_are_names_or_refused_with_a_sentence(world: QueueWorld) -> None:
    _, anna, _ = await two_people(world)
    for text in NASTY:
        answer = await world.store.name_speaker(anna, text)
        if answer.outcome == "refused":
            assert answer.message
            continue
        named = next(person for person in await world.store.people() if person.id == anna)
        assert kept(named.name).split() == kept(text).split()


async def test_words_of_the_vocabulary_are_words_or_refused_with_a_sentence(world: QueueWorld) -> None:
    """Those with line ends or commas would be several, where engines read them."""
    sentences = set[str]()
    for text in NASTY:
        try:
            (word,) = await world.store.add_words([text])
        except SupabaseQueryError as error:
            sentences.add(str(error))
        else:
            assert kept(word).split() == kept(text).split()
    assert sentences == {
        "A word of the vocabulary has 1 to 60 characters, and no comma, semicolon or control character."
    }
    words = await world.store.words()
    assert {"%s %d %n %(title)s %%", "<script>alert(1)</script>", "-rf"} <= set(words)
    assert not [word for word in words if "\n" in word or "," in word or ";" in word]
    assert set(await world.store.remove_words(words)) == set(words)
    assert await world.store.words() == ()
