"""An owner with years of strangers: what a worker is told stays small. On Postgres, where the limit is."""

from __future__ import annotations

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import PostgresWorld


async def test_of_strangers_only_the_latest_are_matched_and_of_people_with_a_name_all(postgres: PostgresWorld) -> None:
    """500 of those without a name; somebody named once stays known."""
    w1 = await postgres.worker()
    await postgres.enqueue()
    claim = await postgres.claim(w1)
    voices = tuple(voice(f"SPEAKER_{number:03}") for number in range(502))
    await postgres.store.complete(claim.meeting.id, claim.token, result("hello", voices=voices))
    anna = postgres.speaker_rows()[-1].id
    await postgres.store.name_speaker(anna, "Anna")
    await postgres.enqueue()
    later = await postgres.claim(w1)
    known = (await postgres.store.speakers(later.meeting.id, later.token, ("ge2e",))).speakers
    assert len(known) == 501
    assert [person.id for person in known if person.name] == [anna]
