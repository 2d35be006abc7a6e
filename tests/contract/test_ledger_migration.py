"""The ledger comes to a database where voices are known already, and to workers that do not know it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import PostgresWorld, fresh_database
from worker.adapters.migrate_postgres import migrate, migrations
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_wire import result_payload
from worker.models import MeetingSpeaker

BEFORE = [migration for migration in migrations() if migration.name < "0013"]
LEFT, RIGHT = (1.0, 0.0), (0.0, 1.0)
SEEN = """
select s.id, s.name, s.embedding, s.meeting_ids,
       array(select (ms.meeting_id, ms.label)::text from public.meeting_speakers ms
              where ms.speaker_id = s.id order by 1),
       array(select (t.meeting_id, t.segment_index)::text from public.transcript_segments t
              where t.speaker_id = s.id order by 1),
       (select count(*) from public.speaker_embeddings e where e.speaker_id = s.id)
  from public.speakers s order by s.id
"""
Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def old(server_dsn: str) -> Iterator[Connection]:
    """A database of the version before."""
    with fresh_database(server_dsn) as dsn:
        migrate(dsn, BEFORE)
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield connection


def completed(connection: Connection, *voices: MeetingSpeaker, meeting_id: UUID | None = None) -> UUID:
    """A meeting as a worker of the version before completes it; one that is there is done anew."""
    if meeting_id is None:
        meeting_id = uuid4()
        connection.execute("insert into public.meetings (id, title) values (%s, 'old')", [meeting_id])
    else:
        connection.execute("update public.meetings set status = 'pending' where id = %s", [meeting_id])
    worker = {"name": "w", "version": "0", "system": {"hostname": "pc", "machine_id": "m"}, "schema": []}
    names = [row["name"] for row in connection.execute("select name from pc_worker.migrations").fetchall()]
    instance = UUID(int=1)
    connection.execute("select public.worker_register_v1('w', %s, %s)", [instance, Jsonb({**worker, "schema": names})])
    claimed = connection.execute("select public.worker_claim_v1('w', %s, %s, 0) as a", [instance, uuid4()]).fetchone()
    assert claimed is not None
    claim = claimed["a"]["claim"]
    assert claim["meeting"]["id"] == str(meeting_id)
    payload = result_payload(result("hello", voices=voices))
    row = connection.execute(
        "select public.worker_complete_v1(%s, %s::bigint, %s) as a", [meeting_id, claim["token"], Jsonb(payload)]
    ).fetchone()
    assert row is not None
    assert row["a"]["outcome"] == "completed"
    return meeting_id


def speaker_at(connection: Connection, meeting_id: UUID, label: str) -> UUID:
    query = "select speaker_id from public.meeting_speakers where meeting_id = %s and label = %s"
    row = connection.execute(query, [meeting_id, label]).fetchone()
    assert row is not None
    found: UUID = row["speaker_id"]
    return found


def settle_all(connection: Connection) -> None:
    """All that follows from the facts, computed anew for every voice and speaker."""
    connection.execute(
        "select pc_worker.settle(null, array(select id from pc_worker.voices), array(select id from public.speakers))"
    )


async def test_who_is_known_already_stays_who_he_or_she_is(old: Connection) -> None:
    """Rows are as they were, also after all of it has been derived from the ledger; and a name can be undone."""
    first = completed(old, voice("SPEAKER_00", vector=LEFT), voice("SPEAKER_01", vector=RIGHT))
    anna, bo = (speaker_at(old, first, label) for label in ("SPEAKER_00", "SPEAKER_01"))
    old.execute("update public.speakers set name = 'Anna' where id = %s", [anna])
    completed(old, voice("SPEAKER_00", speaker_id=bo, vector=RIGHT), voice("SPEAKER_01", vector=LEFT))
    completed(old, voice("SPEAKER_00", vector=RIGHT), meeting_id=first)  # Anna keeps what was heard of her before
    lost = completed(old, voice("SPEAKER_00", vector=LEFT))
    old.execute("delete from public.speakers where id = %s", [speaker_at(old, lost, "SPEAKER_00")])
    before = old.execute(SEEN).fetchall()
    assert len(before) == 4

    migrate(old.info.dsn)
    assert old.execute(SEEN).fetchall() == before
    settle_all(old)
    assert json.dumps(old.execute(SEEN).fetchall(), default=str) == json.dumps(before, default=str)

    store = PostgresStore(old.info.dsn, application_name="test")
    first_listed = (await store.people())[0]
    assert (first_listed.name, first_listed.num_voiceprints, first_listed.num_meetings) == ("Anna", 1, 0)
    (named,) = [one for one in await store.decisions() if one.kind == "named"]
    assert (named.name, named.speaker_id, named.decided_by) == ("Anna", anna, "migration")
    assert (await store.undo_decision(named.id)).outcome == "done"
    assert [person.name for person in await store.people()] == [None] * 4
    await store.close()


async def test_a_worker_of_the_version_before_keeps_the_ledger_true(postgres: PostgresWorld) -> None:
    """It says nothing of scores, and whom it recognised can be contradicted all the same."""
    first = completed(postgres.admin, voice("SPEAKER_00"))
    anna = speaker_at(postgres.admin, first, "SPEAKER_00")
    second = completed(postgres.admin, voice("SPEAKER_00", speaker_id=anna))
    (identified,) = await postgres.store.decisions()
    assert (identified.kind, identified.speaker_id, identified.decided_by) == ("identified", anna, "worker:w")
    assert (await postgres.store.undo_decision(identified.id)).outcome == "done"
    assert speaker_at(postgres.admin, second, "SPEAKER_00") != anna
    assert postgres.broken_invariants() == []


async def test_a_passage_given_to_another_label_is_that_voices(postgres: PostgresWorld) -> None:
    """And nobody's when no voice has that label."""
    first = completed(postgres.admin, voice("SPEAKER_00"), voice("SPEAKER_01", vector=LEFT))
    for label, whose in (("SPEAKER_01", speaker_at(postgres.admin, first, "SPEAKER_01")), ("somebody", None)):
        postgres.edit("update public.transcript_segments set speaker_label = %s", label)
        (segment,) = postgres.rows("select speaker_id, edited_at is not null as edited from public.transcript_segments")
        assert (segment["speaker_id"], segment["edited"]) == (whose, True)


async def test_what_was_summed_is_summed_anew_when_some_of_it_is_gone(postgres: PostgresWorld) -> None:
    """A speaker's embedding is that of the voices there are, however they came and went."""
    meetings = [completed(postgres.admin, voice("SPEAKER_00", vector=LEFT))]
    anna = speaker_at(postgres.admin, meetings[0], "SPEAKER_00")
    for vector in (RIGHT, RIGHT):
        meetings.append(completed(postgres.admin, voice("SPEAKER_00", speaker_id=anna, vector=vector)))
    assert postgres.speaker_rows()[0].embedding == pytest.approx((0.447214, 0.894427))
    postgres.delete_meeting(meetings[1])
    assert postgres.speaker_rows()[0].embedding == pytest.approx((0.707107, 0.707107))
    postgres.delete_meeting(meetings[0])
    assert postgres.speaker_rows()[0].embedding == pytest.approx(RIGHT)
    assert (await postgres.store.forget_speaker(anna)).outcome == "done"
    assert postgres.speaker_rows()[0].embedding is None
    assert postgres.rows("select from pc_worker.voice_sums") == []


async def test_a_voiceprint_is_in_no_table_after_forgetting(postgres: PostgresWorld) -> None:
    """Whatever tables there are, or will be."""
    mark = (0.123457, 0.992349)
    first = completed(postgres.admin, voice("SPEAKER_00", vector=mark))
    anna = speaker_at(postgres.admin, first, "SPEAKER_00")
    tables = postgres.rows(
        "select c.oid::regclass::text as name from pg_class c"
        " where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('public', 'pc_worker')"
    )
    where = "select from {} t where to_jsonb(t)::text like '%%0.12345%%' or to_jsonb(t)::text like '%%0.4938%%'"

    def holders() -> set[str]:
        return {table["name"] for table in tables if postgres.rows(where.format(table["name"]))}

    assert holders() == {"speakers", "speaker_embeddings", "pc_worker.voice_sums"}
    assert (await postgres.store.forget_speaker(anna)).outcome == "done"
    assert holders() == set()
