"""The column in which people say whether each channel of a recording is one person's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.old_project import PLAIN_MEETINGS, run
from tests.support.queue_worlds import fresh_database
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import SupabaseQueryError
from worker.models import NewMeeting

SENTENCE = "The channels of a meeting are separate, mixed, or left empty"


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    with fresh_database(server_dsn) as dsn:
        yield dsn


async def test_another_word_is_refused_with_a_sentence(empty_dsn: str) -> None:
    migrate(empty_dsn)
    store = PostgresStore(empty_dsn, application_name="test")
    try:
        with pytest.raises(SupabaseQueryError, match=SENTENCE):
            await store.enqueue(NewMeeting(title="a", audio_path="lab/a.wav", channels="left"))
        assert await store.meetings() == ()
    finally:
        await store.close()


def test_what_people_write_by_hand_is_tidied(empty_dsn: str) -> None:
    """Table editors write capitals, blanks, and empty texts where nothing is meant."""
    migrate(empty_dsn)
    run(empty_dsn, "insert into public.meetings (audio_path, channels) values ('lab/a.wav', ' Mixed')")
    assert run(empty_dsn, "select channels from public.meetings") == [("mixed",)]
    run(empty_dsn, "update public.meetings set channels = ''")
    assert run(empty_dsn, "select channels from public.meetings") == [(None,)]


@pytest.mark.parametrize(
    ("column", "problem"),
    [("channels integer default 2", "one of type text"), ("channels text default 'left'", "other words than separate")],
)
def test_an_adopted_table_with_another_column_of_that_name_says_what_to_rename(
    empty_dsn: str, column: str, problem: str
) -> None:
    """Nothing is changed before it is renamed, and nothing is lost by it."""
    run(empty_dsn, f"{PLAIN_MEETINGS} alter table public.meetings add {column}")
    with pytest.raises(SupabaseQueryError, match=rf"{problem}.*rename column channels to channels_old"):
        migrate(empty_dsn)
    before = run(empty_dsn, "select channels from public.meetings")
    run(empty_dsn, "alter table public.meetings rename column channels to channels_old")
    migrate(empty_dsn)
    assert run(empty_dsn, "select channels_old from public.meetings") == before


def test_an_adopted_column_that_means_the_same_is_used(empty_dsn: str) -> None:
    run(empty_dsn, f"{PLAIN_MEETINGS} alter table public.meetings add channels text default 'mixed'")
    migrate(empty_dsn)
    assert set(run(empty_dsn, "select channels from public.meetings")) == {("mixed",)}
