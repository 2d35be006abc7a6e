"""The view meeting_dashboard: what it says of a meeting in each state, in words and in figures."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import failure, result
from tests.support.queue_worlds import PostgresWorld
from worker.exceptions import FailureKind
from worker.models import MeetingStatus, ResultWarning, Stage
from worker.testing.memory_tables import moment

COLUMNS = [
    "title",
    "status",
    "stage",
    "progress_percent",
    "worker",
    "queue_position",
    "estimate",
    "estimated_start_at",
    "estimated_finish_at",
    "no_worker_since",
    "started_at",
    "finished_at",
    "duration",
    "warnings",
    "error",
    "created_at",
    "id",
    "user_id",
]


def row_of(world: PostgresWorld, meeting_id: UUID) -> dict[str, Any]:
    return world.rows("select * from public.meeting_dashboard where id = %s", meeting_id)[0]


def shown(world: PostgresWorld, meeting_id: UUID) -> dict[str, Any]:
    """What is not empty, but for what every row has."""
    always = ("id", "title", "created_at", "user_id")
    return {
        name: value for name, value in row_of(world, meeting_id).items() if value is not None and name not in always
    }


def estimate(world: PostgresWorld, meeting_id: UUID) -> str:
    words: str = row_of(world, meeting_id)["estimate"]
    return words


# --- each status -------------------------------------------------------------------------------------------------


async def test_what_people_look_for_first_stands_first(postgres: PostgresWorld) -> None:
    """The order of the columns in a table editor."""
    cursor = postgres.admin.execute("select * from public.meeting_dashboard")
    assert [column.name for column in cursor.description or ()] == COLUMNS


async def test_a_pending_meeting_starts_at_once_when_a_worker_is_idle(postgres: PostgresWorld) -> None:
    """Known even without a history; how long it takes is not."""
    meeting_id = await postgres.enqueue("Seminar")
    await postgres.worker()
    assert row_of(postgres, meeting_id) == dict.fromkeys(COLUMNS) | {
        "title": "Seminar",
        "status": "pending",
        "queue_position": 1,
        "estimate": "Starts within a minute.",
        "estimated_start_at": moment(0),
        "created_at": row_of(postgres, meeting_id)["created_at"],
        "id": meeting_id,
    }


async def test_a_meeting_in_work_shows_how_far_it_is_and_where(postgres: PostgresWorld) -> None:
    """The worker by its name for people."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    postgres.advance(5)
    await postgres.beat(w1, claim, Stage.TRANSCRIBE, 0.415)
    assert shown(postgres, meeting_id) == {
        "status": "processing",
        "stage": "transcribe",
        "progress_percent": 42,
        "worker": "Worker w1",
        "estimate": "Not enough finished meetings to tell.",
        "started_at": moment(0),
    }


async def test_a_completed_meeting_shows_length_and_warnings(postgres: PostgresWorld) -> None:
    """The warnings as sentences, one after the other."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    postgres.advance(60)
    warnings = (ResultWarning(code="a", message="It is rough."), ResultWarning(code="b", message="It has gaps."))
    done = result("hello").model_copy(update={"warnings": warnings, "duration_s": 36125.4})
    await postgres.store.complete(meeting_id, claim.token, done)
    assert shown(postgres, meeting_id) == {
        "status": "completed",
        "worker": "Worker w1",
        "started_at": moment(0),
        "finished_at": moment(60),
        "duration": "10:02:05",
        "warnings": "It is rough. It has gaps.",
    }


@pytest.mark.parametrize(("duration_s", "words"), [(0.0, "0:00:00"), (59.6, "0:01:00"), (100_000.0, "27:46:40")])
async def test_a_length_reads_like_a_players(postgres: PostgresWorld, duration_s: float, words: str) -> None:
    """Hours, minutes, seconds; the hours do not become days."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    done = result("hello").model_copy(update={"duration_s": duration_s})
    await postgres.store.complete(meeting_id, claim.token, done)
    assert row_of(postgres, meeting_id)["duration"] == words


async def test_a_failed_meeting_says_why(postgres: PostgresWorld) -> None:
    """The sentence for people, and the stage in which it ended."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    await postgres.store.fail(meeting_id, claim.token, failure(FailureKind.PERMANENT))
    assert shown(postgres, meeting_id) == {
        "status": "failed",
        "stage": "transcribe",
        "worker": "Worker w1",
        "started_at": moment(0),
        "error": "It failed. Try again.",
    }


async def test_a_cancelled_meeting_says_so(postgres: PostgresWorld) -> None:
    """For a dashboard that shows it as failed, too."""
    meeting_id = await postgres.enqueue()
    await postgres.store.cancel(meeting_id)
    assert shown(postgres, meeting_id) == {"status": "cancelled", "error": "It was cancelled."}


async def test_a_meeting_that_is_tried_again_shows_the_last_error(postgres: PostgresWorld) -> None:
    """And waits for its time, idle workers or not."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    await postgres.store.fail(meeting_id, claim.token, failure(retry_in_s=600))
    assert shown(postgres, meeting_id) == {
        "status": "pending",
        "queue_position": 1,
        "estimate": "Starts in about 10 minutes.",
        "estimated_start_at": moment(600),
        "started_at": moment(0),
        "error": "It is tried again. The last attempt ended so: It failed. Try again.",
    }


async def test_a_meeting_without_its_recording_stands_beside_the_queue(postgres: PostgresWorld) -> None:
    """It has no position and takes nobody's."""
    w1 = await postgres.worker()
    missing = await postgres.enqueue()
    claim = await postgres.claim(w1)
    await postgres.store.fail(missing, claim.token, failure(FailureKind.WAITING, code="audio_missing"))
    behind = await postgres.enqueue()
    assert shown(postgres, missing) == {
        "status": "pending",
        "stage": "waiting_for_audio",
        "estimate": "Starts when its recording has been uploaded.",
        "started_at": moment(0),
    }
    assert row_of(postgres, behind)["queue_position"] == 1


# --- the queue ---------------------------------------------------------------------------------------------------


async def test_positions_are_the_order_of_claims(postgres: PostgresWorld) -> None:
    """Priority first, then the earlier one; those that wait for their time come last. Everybody's meetings count."""
    w1 = await postgres.worker()
    tried = await postgres.enqueue(priority=9)
    claim = await postgres.claim(w1)
    await postgres.store.fail(tried, claim.token, failure(retry_in_s=60))
    order = [tried]
    for priority, owner in ((-1, None), (0, "a"), (0, "b"), (5, "b")):
        user_id = UUID(int=ord(owner)) if owner else None
        path = f"{user_id or 'lab'}/a.wav"
        order.insert(0, await postgres.enqueue(priority=priority, user_id=user_id, audio_path=path))
        postgres.advance(1)
    order[1], order[2] = order[2], order[1]
    positions = {row["id"]: row["queue_position"] for row in postgres.rows("select * from public.meeting_dashboard")}
    assert [positions[meeting_id] for meeting_id in order] == [1, 2, 3, 4, 5]
    claimed = [(await postgres.claim(w1)).meeting.id for _ in order[:-1]]
    assert claimed == order[:-1]
    assert row_of(postgres, tried)["queue_position"] == 1


# --- nobody there ------------------------------------------------------------------------------------------------


async def test_before_the_first_worker_nobody_can_tell(postgres: PostgresWorld) -> None:
    """Nor was any seen."""
    meeting_id = await postgres.enqueue()
    assert shown(postgres, meeting_id) == {
        "status": "pending",
        "queue_position": 1,
        "estimate": "No worker has ever been started.",
    }


async def test_a_finished_meeting_does_not_care_about_workers(postgres: PostgresWorld) -> None:
    """Nothing is missing for it."""
    meeting_id = await postgres.completed(await postgres.worker(), "hello")
    postgres.advance(postgres.limits.lease_s)
    assert row_of(postgres, meeting_id)["no_worker_since"] is None
    assert row_of(postgres, meeting_id)["estimate"] is None


async def test_workers_that_drain_start_nothing(postgres: PostgresWorld) -> None:
    """They are alive, so that somebody is there; but nobody who would take it."""
    w1 = await postgres.worker()
    working_on = await postgres.enqueue()
    await postgres.claim(w1)
    await postgres.store.drain("w1", draining=True)
    meeting_id = await postgres.enqueue()
    assert shown(postgres, meeting_id) == {
        "status": "pending",
        "queue_position": 1,
        "estimate": "No worker takes new meetings at the moment.",
    }
    assert estimate(postgres, working_on) == "Not enough finished meetings to tell."
    await postgres.worker("w2")
    assert estimate(postgres, meeting_id) == "Starts within a minute."


async def test_a_silent_worker_is_told_of_by_its_meeting(postgres: PostgresWorld) -> None:
    """Before its lease has ended for good; alone, or while another one is alive."""
    w1 = await postgres.worker("w1")
    meeting_id = await postgres.enqueue()
    await postgres.claim(w1)
    postgres.advance(postgres.limits.lease_s + 20)
    words = "Its worker was last seen 3 minutes ago. Another one takes over if it does not come back."
    assert (estimate(postgres, meeting_id), row_of(postgres, meeting_id)["no_worker_since"]) == (words, moment(0))
    await postgres.worker("w2")
    assert (estimate(postgres, meeting_id), row_of(postgres, meeting_id)["no_worker_since"]) == (words, None)


async def test_the_machinery_answers_about_the_meetings_it_is_asked_for(postgres: PostgresWorld) -> None:
    """Everybody's count, only those are named."""
    ids = [await postgres.enqueue() for _ in range(3)]
    rows = postgres.rows("select * from pc_worker.outlook(%s)", [ids[1], uuid4()])
    assert [(row["meeting_id"], row["queue_position"]) for row in rows] == [(ids[1], 2)]


async def test_a_status_edited_by_hand_is_shown_at_once(postgres: PostgresWorld) -> None:
    """Cancelled and back: no estimate is left over from before."""
    meeting_id = await postgres.enqueue()
    postgres.edit_status(meeting_id, MeetingStatus.CANCELLED)
    assert row_of(postgres, meeting_id)["queue_position"] is None
    postgres.edit_status(meeting_id, MeetingStatus.PENDING)
    assert row_of(postgres, meeting_id)["queue_position"] == 1


async def test_a_meeting_that_nobody_works_on_says_what_to_do(postgres: PostgresWorld) -> None:
    """It was processing in a table that was there before the worker: the queue has no job for it."""
    meeting_id = await postgres.enqueue()
    await postgres.claim(await postgres.worker())
    postgres.edit("delete from pc_worker.jobs where meeting_id = %s", meeting_id)
    assert estimate(postgres, meeting_id) == "No worker knows of it. Cancel it and retry it, to start it anew."
    assert (await postgres.store.cancel(meeting_id)).outcome == "cancelled"
    assert (await postgres.store.retry(meeting_id)).outcome == "pending"
    assert estimate(postgres, meeting_id) == "Starts within a minute."
