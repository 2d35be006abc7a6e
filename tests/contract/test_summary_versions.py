"""The versions of summaries as only a database can show them: hands in the tables, races, limits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import PostgresWorld
from tests.support.summary_rows import edit_overview, past_summaries, written
from worker.exceptions import SupabaseQueryError


def current(postgres: PostgresWorld, meeting_id: UUID) -> dict[str, Any]:
    (row,) = postgres.rows("select * from public.meeting_summaries where meeting_id = %s", meeting_id)
    return row


async def test_a_correction_that_comes_in_between_is_not_lost(postgres: PostgresWorld) -> None:
    """Somebody corrects the summary in the moment in which the meeting is retried: what `complete` brings waits."""
    info = await postgres.worker()
    meeting_id = await postgres.completed(info, "as it was")
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meeting_summaries set overview = 'mine' where meeting_id = %s", [meeting_id])
        assert (await postgres.store.retry(meeting_id)).outcome == "pending"
        editor.commit()
    claim = await postgres.claim(info)
    assert (await postgres.store.complete(meeting_id, claim.token, result("anew"))).outcome == "completed"
    row = current(postgres, meeting_id)
    assert (row["overview"], row["version"], row["edited_at"] is not None) == ("mine", 4, True)
    assert past_summaries(postgres, meeting_id) == [(1, "as it was", "table"), (3, "anew", "worker:w1")]
    assert [part.text for part in (await postgres.detail(meeting_id)).segments] == ["anew"]


async def test_a_summary_that_was_written_by_hand_counts_as_corrected(postgres: PostgresWorld) -> None:
    """Also where there was none."""
    info = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(info)
    await postgres.store.complete(meeting_id, claim.token, result("hello").model_copy(update={"summary": None}))
    postgres.edit(
        "insert into public.meeting_summaries (meeting_id, overview, method) values (%s, 'by hand', 'extractive')",
        meeting_id,
    )
    assert (await postgres.store.retry(meeting_id)).outcome == "refused"
    assert (await postgres.store.write_summary(meeting_id, written("x"))).outcome == "refused"


async def test_a_summary_that_somebody_deletes_is_kept_as_a_version(postgres: PostgresWorld) -> None:
    """And the numbers go on."""
    meeting_id = await postgres.completed(await postgres.worker(), "as it was")
    postgres.edit("delete from public.meeting_summaries where meeting_id = %s", meeting_id)
    assert past_summaries(postgres, meeting_id) == [(1, "as it was", "table")]
    assert (await postgres.detail(meeting_id)).summary is None
    await postgres.store.write_summary(meeting_id, written("anew"))
    assert current(postgres, meeting_id)["version"] == 2


async def test_a_deleted_meeting_leaves_no_versions(postgres: PostgresWorld) -> None:
    """Whether its summary was corrected or not."""
    meeting_id = await postgres.completed(await postgres.worker(), "as it was")
    edit_overview(postgres, meeting_id, "as it should be")
    postgres.delete_meeting(meeting_id)
    assert postgres.rows("select * from public.meeting_summary_versions") == []


async def test_a_dashboard_that_saves_every_keystroke_does_not_fill_the_database(postgres: PostgresWorld) -> None:
    """Of those that people wrote the newest 50 stay; what a worker wrote stays whatever comes after."""
    info = await postgres.worker()
    meeting_id = await postgres.completed(info, "by the worker")
    for number in range(60):
        edit_overview(postgres, meeting_id, f"edit {number}")
    kept = past_summaries(postgres, meeting_id)
    assert [past.overview for past in kept] == ["by the worker", *(f"edit {number}" for number in range(9, 59))]
    assert current(postgres, meeting_id)["version"] == 61


async def test_lists_that_nobody_could_read_are_refused_in_a_sentence(postgres: PostgresWorld) -> None:
    """In the table editor too: a reader of any version has to understand them."""
    meeting_id = await postgres.completed(await postgres.worker(), "as it was")
    with pytest.raises(SupabaseQueryError, match="Each list of a summary holds objects with text"):
        postgres.edit("update public.meeting_summaries set decisions = '[\"we buy it\"]'")
    postgres.edit('update public.meeting_summaries set decisions = \'[{"text": "we buy it"}]\'')
    summary = (await postgres.detail(meeting_id)).summary
    assert summary is not None
    assert [decision.text for decision in summary.decisions] == ["we buy it"]


@pytest.mark.parametrize(
    "summary", ["null", "{}", '{"overview": "x", "method": "llm"}', '{"overview": 1, "method": "llm"}']
)
async def test_what_is_no_summary_is_not_written(postgres: PostgresWorld, summary: str) -> None:
    """By whoever calls the function."""
    meeting_id = await postgres.completed(await postgres.worker(), "as it was")
    with pytest.raises(SupabaseQueryError):
        postgres.edit("select public.meeting_summarize_v1(%s, %s::jsonb)", meeting_id, summary)
    assert current(postgres, meeting_id)["overview"] == "as it was"
