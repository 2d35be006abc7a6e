"""Two at once who change who is who: two PCs, or a PC and somebody who decides. On Postgres, which has the locks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import PostgresWorld
from worker.adapters.store_wire import result_payload
from worker.models import Claim, ProcessingResult, WriteAnswer

MODELS = ("ge2e",)
NEW_VOICE = (voice("SPEAKER_00"),)


async def claimed(world: PostgresWorld, num: int) -> list[Claim]:
    worker = await world.worker()
    for _ in range(num):
        await world.enqueue()
    return [await world.claim(worker) for _ in range(num)]


async def matched(world: PostgresWorld, claim: Claim, *, speaker_id: UUID | None = None) -> ProcessingResult:
    """What a PC sends that has asked for the known people at this moment."""
    known = await world.store.speakers(claim.meeting.id, claim.token, MODELS)
    voices = (voice("SPEAKER_00", speaker_id=speaker_id),)
    return result("hello", voices=voices).model_copy(update={"speakers_version": known.version})


async def until_waiting(world: PostgresWorld, call: Awaitable[Any]) -> asyncio.Task[Any]:
    """The call, begun, at the moment when another transaction's lock keeps it from going on."""
    task = asyncio.ensure_future(call)
    waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(20):
        while not world.rows(waiting):
            assert not task.done(), "it should have waited"
            await asyncio.sleep(0)
    return task


def complete(connection: psycopg.Connection, claim: Claim, sent: ProcessingResult) -> dict[str, Any]:
    """As the store does, in a transaction that the test ends."""
    row = connection.execute(
        "select public.worker_complete_v2(%s, %s::bigint, %s)",
        [claim.meeting.id, claim.token, Jsonb(result_payload(sent))],
    ).fetchone()
    assert row is not None
    answer: dict[str, Any] = row[0]
    return answer


async def test_two_pcs_that_hear_the_same_new_voice_at_once_make_one_person_of_it(postgres: PostgresWorld) -> None:
    """The second is told of the first one's speaker, matches again, and sends again."""
    first, second = await claimed(postgres, 2)
    sent_first, sent_second = [await matched(postgres, claim) for claim in (first, second)]
    assert sent_first.speakers_version == sent_second.speakers_version
    with psycopg.connect(postgres.dsn) as one:
        assert complete(one, first, sent_first)["outcome"] == "completed"
        other = await until_waiting(postgres, postgres.store.complete(second.meeting.id, second.token, sent_second))
        one.commit()
    stale: WriteAnswer = await other
    assert stale.outcome == "stale_speakers"
    assert stale.known is not None
    (anybody,) = stale.known.speakers
    assert [embedding.vector for embedding in anybody.embeddings] == [(0.6, 0.8)]
    assert await postgres.texts(second.meeting.id) == []
    again = result("hello", voices=(voice("SPEAKER_00", speaker_id=anybody.id),))
    again = again.model_copy(update={"speakers_version": stale.known.version})
    assert (await postgres.store.complete(second.meeting.id, second.token, again)).outcome == "completed"
    (person,) = postgres.speaker_rows()
    assert person.id == anybody.id
    assert set(person.meeting_ids) == {first.meeting.id, second.meeting.id}
    assert person.num_embeddings == 2


async def test_two_pcs_of_different_owners_do_not_wait_for_each_other(postgres: PostgresWorld) -> None:
    """Nor does what one has heard make the other's people stale."""
    owner = UUID(int=7)
    worker = await postgres.worker()
    await postgres.enqueue()
    first = await postgres.claim(worker)
    await postgres.enqueue(user_id=owner, audio_path=f"{owner}/a.wav")
    second = await postgres.claim(worker)
    sent = [await matched(postgres, claim) for claim in (first, second)]
    with psycopg.connect(postgres.dsn) as one:
        assert complete(one, first, sent[0])["outcome"] == "completed"
        assert (await postgres.store.complete(second.meeting.id, second.token, sent[1])).outcome == "completed"
        one.commit()


async def test_a_result_that_waits_for_a_merge_is_told_of_it(postgres: PostgresWorld) -> None:
    """It recognised somebody who is somebody else now."""
    await postgres.completed(await postgres.worker())
    anna, bo = [row.id for row in postgres.speaker_rows()]
    (claim,) = await claimed(postgres, 1)
    sent = await matched(postgres, claim, speaker_id=bo)
    with psycopg.connect(postgres.dsn) as one:
        one.execute("select public.speaker_merge_v1(%s, %s)", [bo, anna])
        other = await until_waiting(postgres, postgres.store.complete(claim.meeting.id, claim.token, sent))
        one.commit()
    stale: WriteAnswer = await other
    assert stale.outcome == "stale_speakers"
    assert stale.known is not None
    assert [person.id for person in stale.known.speakers] == [anna]


async def test_a_merge_that_waits_for_a_result_takes_its_voice_along(postgres: PostgresWorld) -> None:
    """What was heard a moment before belongs to who was merged, too."""
    await postgres.completed(await postgres.worker())
    anna, bo = [row.id for row in postgres.speaker_rows()]
    (claim,) = await claimed(postgres, 1)
    sent = await matched(postgres, claim, speaker_id=bo)
    with psycopg.connect(postgres.dsn) as one:
        assert complete(one, claim, sent)["outcome"] == "completed"
        other = await until_waiting(postgres, postgres.store.merge_speakers(bo, anna))
        one.commit()
    assert (await other).outcome == "done"
    assert [one.speaker_id for one in (await postgres.detail(claim.meeting.id)).speakers] == [anna]
    (person,) = postgres.speaker_rows()
    assert person.num_embeddings == 3


async def test_a_name_in_the_table_does_not_lock_up_a_result(postgres: PostgresWorld) -> None:
    """The edit has the speaker's row already, for which the result waits: it gives way, and may be tried again."""
    await postgres.completed(await postgres.worker())
    anna = postgres.speaker_rows()[0].id
    (claim,) = await claimed(postgres, 1)
    sent = await matched(postgres, claim, speaker_id=anna)
    with psycopg.connect(postgres.dsn) as editor, psycopg.connect(postgres.dsn) as pc:
        editor.execute("select from public.speakers where id = %s for update", [anna])
        running = asyncio.to_thread(complete, pc, claim, sent)
        other = await until_waiting(postgres, running)
        refused = None
        try:
            editor.execute("update public.speakers set name = 'Anna' where id = %s", [anna])
        except psycopg.errors.LockNotAvailable as error:
            refused = str(error.diag.message_primary)
        editor.rollback()
        assert (await other)["outcome"] == "completed"
        pc.commit()
    assert refused == "The speakers are being changed by somebody else at this moment. Try again."
