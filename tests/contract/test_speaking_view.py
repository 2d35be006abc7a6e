"""The view meeting_speaking: how each voice took part, under the name that it has now."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import PostgresWorld, fresh_database
from tests.support.supabase_project import add_user, make_project
from worker.adapters.migrate_postgres import migrate, migrations
from worker.exceptions import SupabaseQueryError
from worker.models import Diarization, ProcessingResult, SpeakerTurn
from worker.speaking import speaking_shares

TURNS = (
    SpeakerTurn(start_s=0, end_s=10, label="SPEAKER_00"),
    SpeakerTurn(start_s=9, end_s=15, label="SPEAKER_01"),
)


def spoken() -> ProcessingResult:
    """A result with the figures of two voices, of whom the second interrupts and the first asks."""
    value = result("is it?", "it is")
    heard = Diarization(turns=TURNS, exclusive=TURNS, embeddings=(), diarizer="scripted", model="scripted")
    figures = [share.model_dump(mode="json") for share in speaking_shares(value.segments, heard)]
    return value.model_copy(update={"result": {"speaking": figures}})


async def completed(world: PostgresWorld, value: ProcessingResult) -> UUID:
    meeting_id = await world.enqueue()
    claim = await world.claim(await world.worker())
    assert (await world.store.complete(meeting_id, claim.token, value)).outcome == "completed"
    return meeting_id


def lines(world: PostgresWorld, meeting_id: UUID) -> list[dict[str, Any]]:
    return world.rows("select * from public.meeting_speaking where meeting_id = %s order by label", meeting_id)


async def test_each_voice_has_its_line(postgres: PostgresWorld) -> None:
    meeting_id = await completed(postgres, spoken())
    first, second = lines(postgres, meeting_id)
    figures = (
        "label",
        "name",
        "speech_s",
        "share",
        "num_turns",
        "longest_turn_s",
        "num_interruptions",
        "num_questions",
    )
    assert [first[name] for name in figures] == ["SPEAKER_00", None, 10, 0.625, 1, 10, 0, 1]
    assert [second[name] for name in figures] == ["SPEAKER_01", None, 6, 0.375, 1, 6, 1, 0]


async def test_a_new_name_shows_at_once(postgres: PostgresWorld) -> None:
    meeting_id = await completed(postgres, spoken())
    voices = {voice.label: voice.speaker_id for voice in (await postgres.detail(meeting_id)).speakers}
    speaker_id = voices["SPEAKER_01"]
    assert speaker_id is not None
    postgres.name_speaker(speaker_id, "Anna")
    assert [(line["name"], line["speaker_id"]) for line in lines(postgres, meeting_id)][1] == ("Anna", speaker_id)


@pytest.mark.parametrize("of_an_older_worker", [{}, {"speaking": None}, {"speaking": "?"}])
async def test_a_result_without_figures_has_no_lines(
    postgres: PostgresWorld, of_an_older_worker: dict[str, Any]
) -> None:
    meeting_id = await completed(postgres, result("hi").model_copy(update={"result": of_an_older_worker}))
    assert lines(postgres, meeting_id) == []


async def test_who_was_not_told_apart_is_one_line_without_a_label(postgres: PostgresWorld) -> None:
    value = result("is it?", voices=())
    figures = [share.model_dump(mode="json") for share in speaking_shares(value.segments, None)]
    meeting_id = await completed(postgres, value.model_copy(update={"result": {"speaking": figures}}))
    assert [(line["label"], line["num_questions"]) for line in lines(postgres, meeting_id)] == [(None, 1)]


def test_a_user_sees_those_of_own_meetings(server_dsn: str) -> None:
    """And who is not signed in sees none, not even an empty list."""
    with fresh_database(server_dsn) as dsn:
        migrate(make_project(dsn))
        anna, bert = add_user(dsn), add_user(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for owner in (anna, bert):
                connection.execute(
                    "insert into public.meetings (title, user_id, audio_path) values ('x', %s, %s)",
                    [owner, f"{owner}/a.wav"],
                )
            connection.execute("""update public.meetings set result = '{"speaking": [{"label": "A", "share": 1}]}'""")
            connection.execute("set role authenticated")
            connection.execute("select set_config('request.jwt.claims', %s, false)", [f'{{"sub": "{anna}"}}'])
            assert len(connection.execute("select from public.meeting_speaking").fetchall()) == 1
            connection.execute("set role anon")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select from public.meeting_speaking")


def test_a_table_of_that_name_is_not_touched(server_dsn: str) -> None:
    """The migration says what to rename."""
    with fresh_database(server_dsn) as dsn:
        migrate(dsn, [migration for migration in migrations() if migration.name < "0016"])
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create table public.meeting_speaking (x text)")
        with pytest.raises(SupabaseQueryError, match=r"public\.meeting_speaking already.*Rename yours"):
            migrate(dsn)
