"""Edits of whatever else stands in a row, of many rows at once, and by everybody who may edit: in a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.contract.test_edits import SITUATIONS, Situation, check_cancel, check_nothing_changes, check_retry, corrected
from tests.support.queue_values import failure, result, voice
from tests.support.queue_worlds import PostgresWorld
from tests.support.supabase_project import add_user
from tests.support.supabase_stack import SupabaseStack
from tests.support.supabase_world import Credentials, SupabaseWorld
from worker.adapters.postgres_errors import mapped
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import MeetingStatus, NewMeeting, Stage

PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = MeetingStatus

# --- other columns, while a worker is at it --------------------------------------------------------------------------

EDITS = {
    "title": "title = 'another'",
    "language": "language = 'de'",
    "prompt": "prompt = 'about gluons', hotwords = 'gluon', min_speakers = 2, max_speakers = 3, channels = 'mixed'",
    "audio": "audio_path = null, audio_url = 'https://example.org/other.wav'",
    "priority": "priority = 7",
    "owner": "user_id = gen_random_uuid()",
    "created": "created_at = '2001-01-01'",
    "shown": "stage = 'nonsense', progress = 0.99, processed_by = 'somebody', error_code = 'x', error_message = 'y'",
    "times": "started_at = null, completed_at = '2001-01-01', updated_at = '2001-01-01'",
    "result": """result = '{"x": 1}', duration_s = 1, warnings = '[]'""",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_an_edit_of_another_column_takes_the_meeting_from_nobody(postgres: PostgresWorld, edit: str) -> None:
    """The holder goes on, its result is accepted whole, and what the worker shows is right again afterwards."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    postgres.edit(f"update public.meetings set {edit}")
    assert postgres.broken_invariants() == []
    assert await postgres.beat(w1, claim, Stage.DIARIZE, 0.5) == "ok"
    meeting = (await postgres.detail(meeting_id)).meeting
    assert (meeting.status, meeting.stage, meeting.progress) == (PROCESSING, "diarize", 0.5)
    assert (await postgres.store.complete(meeting_id, claim.token, result("said"))).outcome == "completed"
    meeting = (await postgres.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code, meeting.duration_s) == (COMPLETED, None, 12.5)
    assert meeting.completed_at is not None
    assert meeting.completed_at.year > 2001
    assert await postgres.texts(meeting_id) == ["said"]
    assert postgres.broken_invariants() == []


async def test_a_meeting_keeps_its_id(postgres: PostgresWorld) -> None:
    """Refused in words, and whoever holds it goes on."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    with pytest.raises(SupabaseQueryError, match="The id of a meeting cannot be changed"):
        postgres.edit("update public.meetings set id = gen_random_uuid()")
    postgres.edit("update public.meetings set id = id, title = 'saved by an editor that sends all columns'")
    assert (await postgres.store.complete(meeting_id, claim.token, result("said"))).outcome == "completed"


async def test_a_completed_meeting_that_is_given_to_somebody_else_can_be_done_anew(postgres: PostgresWorld) -> None:
    """Its voices stay with the people of its first owner until then, and are the new owner's afterwards."""
    w1, first, second = await postgres.worker(), uuid4(), uuid4()
    meeting_id = await postgres.heard(w1, result("one"), user_id=first, audio_path=f"{first}/a.wav")
    named = postgres.speaker_rows()[0]
    postgres.name_speaker(named.id, "Ada")
    postgres.edit(f"update public.meetings set user_id = '{second}', audio_path = '{second}/a.wav'")
    assert postgres.broken_invariants() == []
    await postgres.heard_anew(w1, meeting_id, result("two", voices=(voice("SPEAKER_00"),)))
    assert postgres.broken_invariants() == []
    assert {row.user_id for row in postgres.speaker_rows() if row.meeting_ids} == {second}
    postgres.delete_meeting(meeting_id)
    assert postgres.broken_invariants() == []
    assert [row.name for row in postgres.speaker_rows()] == ["Ada"]


async def test_a_recording_moved_out_of_its_owners_folder_is_not_taken_up_again(postgres: PostgresWorld) -> None:
    """Also where the meeting was at work when somebody changed the path."""
    w1, owner = await postgres.worker(), uuid4()
    meeting_id = await postgres.enqueue(user_id=owner, audio_path=f"{owner}/a.wav")
    claim = await postgres.claim(w1)
    postgres.edit(f"update public.meetings set audio_path = '{uuid4()}/a.wav'")
    await postgres.store.fail(meeting_id, claim.token, failure())
    assert await postgres.try_claim(w1) is None
    meeting = (await postgres.detail(meeting_id)).meeting
    assert (meeting.status, meeting.error_code) == (FAILED, "audio_path_refused")
    assert postgres.broken_invariants() == []


_KEPT = '{"code": "kept", "message": "m"}'

NONSENSE = {
    "warnings": f"""warnings = '["by hand", {{"code": "c"}}, {_KEPT}, {{"code": "c", "message": 1}}]'""",
    "stage of a warning": f"""warnings = '[{{"code": "c", "message": "m", "stage": "coffee"}}, {_KEPT}]'""",
    "result": f"""result = '["by hand"]', warnings = '[{_KEPT}]'""",
    "moments": f"""created_at = 'infinity', started_at = '-infinity', completed_at = '20001-01-01',
                   warnings = '[{_KEPT}]'""",
    "numbers": f"""duration_s = 'NaN', progress = 1e-300, warnings = '[{_KEPT}]'""",
}


@pytest.mark.parametrize("edit", NONSENSE.values(), ids=NONSENSE)
async def test_what_nobody_can_read_in_a_row_keeps_no_worker_from_it(postgres: PostgresWorld, edit: str) -> None:
    """Else the claim of that one meeting would end one worker after the other, and nobody could list the meetings."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    postgres.edit(f"update public.meetings set {edit}")
    assert [meeting.id for meeting in await postgres.store.meetings()] == [meeting_id]
    claim = await postgres.claim(w1)
    assert (claim.meeting.id, claim.meeting.title) == (meeting_id, "meeting")
    assert [warning.code for warning in claim.meeting.warnings] == ["kept"]
    assert (await postgres.store.complete(meeting_id, claim.token, result("said"))).outcome == "completed"
    assert await postgres.texts(meeting_id) == ["said"]


# --- rows that are not as a new one should be ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [PROCESSING, COMPLETED, FAILED, CANCELLED])
async def test_a_row_that_is_imported_with_another_status_is_refused(
    postgres: PostgresWorld, status: MeetingStatus
) -> None:
    """With a sentence; no row and no job are there, also none of the others of that statement."""
    with pytest.raises(SupabaseQueryError, match="A new meeting starts with status pending"):
        postgres.edit(
            "insert into public.meetings (title, status, completed_at, error_code)"
            f" values ('fine', 'pending', null, null), ('imported', '{status}', now(), 'x')"
        )
    assert await postgres.store.meetings() == ()
    assert postgres.broken_invariants() == []


async def test_what_a_new_row_says_of_a_result_is_not_believed(postgres: PostgresWorld) -> None:
    postgres.edit(
        "insert into public.meetings (title, stage, progress, error_code, warnings, processed_by, result, completed_at)"
        " values ('imported', 'commit', 1, 'x', '[1]', 'w9', '{}', now())"
    )
    meeting = (await postgres.store.meetings())[0]
    assert (meeting.status, meeting.stage, meeting.progress, meeting.error_code) == (PENDING, None, None, None)
    assert (meeting.warnings, meeting.processed_by, meeting.completed_at) == ((), None, None)


async def test_an_upsert_of_a_known_meeting_changes_only_what_it_names(postgres: PostgresWorld) -> None:
    """As dashboards do it. One that says completed is refused, whatever the meeting is."""
    w1 = await postgres.worker()
    meeting_id = await postgres.completed(w1, "said")
    upsert = "insert into public.meetings (id, title, status) values (%s, 'renamed', %s) on conflict (id) do update set"
    postgres.edit(f"{upsert} title = excluded.title", meeting_id, "pending")
    assert (await postgres.detail(meeting_id)).meeting.title == "renamed"
    assert await postgres.status_of(meeting_id) is COMPLETED
    with pytest.raises(SupabaseQueryError, match="starts with status pending"):
        postgres.edit(f"{upsert} status = excluded.status", meeting_id, "completed")
    postgres.edit(f"{upsert} status = excluded.status", meeting_id, "pending")
    assert await postgres.status_of(meeting_id) is PENDING
    assert postgres.job(meeting_id).state == "pending"


# --- many rows, many edits -------------------------------------------------------------------------------------------


async def thousand(postgres: PostgresWorld) -> None:
    postgres.edit(
        "insert into public.meetings (title, audio_path) select n::text, 'lab/a.wav' from generate_series(1, 1000) n"
    )


async def test_a_thousand_rows_in_one_statement(postgres: PostgresWorld) -> None:
    """Inserted, cancelled, retried and deleted, some of them at work: each row as if it had been alone."""
    w1 = await postgres.worker()
    await thousand(postgres)
    claims = [await postgres.claim(w1) for _ in range(3)]
    postgres.edit("update public.meetings set status = 'cancelled'")
    assert {await postgres.beat(w1, claim) for claim in claims} == {"cancelled"}
    assert await postgres.try_claim(w1) is None
    postgres.edit("update public.meetings set status = 'pending'")
    counted = postgres.rows("select state, count(*) as num from pc_worker.jobs where token is null group by state")
    assert counted == [{"state": "pending", "num": 1000}]
    assert postgres.broken_invariants() == []
    claim = await postgres.claim(w1)
    postgres.edit("delete from public.meetings")
    assert await postgres.beat(w1, claim) == "gone"
    assert postgres.rows("select * from pc_worker.jobs") == []


async def test_one_refused_row_refuses_the_whole_statement(postgres: PostgresWorld) -> None:
    """`update meetings set status = 'cancelled'` without a condition, where one meeting is completed already."""
    w1 = await postgres.worker()
    await postgres.completed(w1)
    waiting = await postgres.enqueue()
    with pytest.raises(SupabaseQueryError, match="from completed to cancelled by hand"):
        postgres.edit("update public.meetings set status = 'cancelled'")
    assert await postgres.status_of(waiting) is PENDING
    assert postgres.job(waiting).state == "pending"


async def test_workers_go_on_while_somebody_edits_many_rows_and_does_not_commit(postgres: PostgresWorld) -> None:
    """Claims take others, heartbeats do not wait; and then all of it is rolled back."""
    w1 = await postgres.worker()
    mine = await postgres.enqueue("mine")
    claim = await postgres.claim(w1)
    await thousand(postgres)
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set status = 'cancelled'")
        urgent = await postgres.enqueue("urgent")
        assert (await postgres.claim(w1)).meeting.id == urgent
        assert await postgres.try_claim(w1) is None
        async with asyncio.timeout(20):
            assert await postgres.beat(w1, claim, Stage.ALIGN, 0.1) == "ok"
        editor.rollback()
    assert (await postgres.store.complete(mine, claim.token, result("said"))).outcome == "completed"
    counted = postgres.rows("select status, count(*) as num from public.meetings group by 1 order by 2 desc")
    assert counted[0] == {"status": "pending", "num": 1000}
    assert postgres.broken_invariants() == []


@pytest.mark.parametrize(
    ("statuses", "at_last"),
    [
        (["cancelled", "pending"], PENDING),
        (["cancelled", "pending", "cancelled"], CANCELLED),
        (["cancelled", "pending", "cancelled", "pending"], PENDING),
    ],
)
async def test_several_edits_in_one_transaction(
    postgres: PostgresWorld, statuses: list[str], at_last: MeetingStatus
) -> None:
    """The last one counts, and whoever held it has lost it."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    with psycopg.connect(postgres.dsn) as editor:
        for status in statuses:
            editor.execute("update public.meetings set status = %s", [status])
    assert await postgres.status_of(meeting_id) is at_last
    assert postgres.broken_invariants() == []
    assert (await postgres.store.complete(meeting_id, claim.token, result("late"))).outcome == "cancelled"
    assert await postgres.texts(meeting_id) == []


async def test_a_row_that_was_inserted_and_edited_in_one_transaction(postgres: PostgresWorld) -> None:
    w1 = await postgres.worker()
    with psycopg.connect(postgres.dsn) as editor:
        for title in ("cancelled", "deleted", "retried"):
            editor.execute("insert into public.meetings (title) values (%s)", [title])
        editor.execute("update public.meetings set status = 'cancelled' where title <> 'deleted'")
        editor.execute("update public.meetings set status = 'pending' where title = 'retried'")
        editor.execute("delete from public.meetings where title = 'deleted'")
    assert postgres.broken_invariants() == []
    assert (await postgres.claim(w1)).meeting.title == "retried"
    assert await postgres.try_claim(w1) is None


@pytest.mark.slow
async def test_many_deletes_and_results_at_once_damage_nothing(postgres: PostgresWorld) -> None:
    """Both change the owner's people: one may have to be repeated, and afterwards everything agrees."""
    w1 = await postgres.worker()
    for number in range(20):
        await postgres.completed(w1, str(number))
    await asyncio.gather(*(postgres.enqueue("late") for _ in range(8)))
    claims = [await postgres.claim(w1) for _ in range(8)]

    def delete() -> None:
        with psycopg.connect(postgres.dsn, autocommit=True) as editor:
            for _ in range(5):
                try:
                    editor.execute("delete from public.meetings where status = 'completed'")
                except psycopg.errors.DeadlockDetected:
                    continue

    results = (postgres.store.complete(claim.meeting.id, claim.token, result("late")) for claim in claims)
    answers, _ = await asyncio.gather(asyncio.gather(*results), asyncio.to_thread(delete))
    assert {answer.outcome for answer in answers} <= {"completed", "already_done", "gone"}
    assert postgres.broken_invariants() == []


# --- everybody who may edit ------------------------------------------------------------------------------------------


class SomebodysProject(SupabaseWorld):
    """A project whose meetings are one user's, and whose statuses are edited as `role`."""

    def __init__(self, stack: SupabaseStack, role: str) -> None:
        super().__init__(stack, Credentials("service"))
        self.role, self.user_id = role, add_user(stack.dsn)

    async def enqueue(self, title: str = "meeting", **columns: Any) -> UUID:
        audio_path = f"{self.user_id}/a.wav"
        return await self.store.enqueue(NewMeeting(title=title, user_id=self.user_id, audio_path=audio_path))

    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None:
        claims = json.dumps({"sub": str(self.user_id), "role": self.role})
        try:
            with psycopg.connect(self.dsn) as connection:
                connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
                connection.execute(f"set local role {self.role}".encode())
                changed = connection.execute(
                    "update public.meetings set status = %s where id = %s", [status, meeting_id]
                )
                assert changed.rowcount == 1
        except psycopg.Error as error:
            raise mapped(error) from error


@pytest.fixture(params=["service_role", "authenticated"])
async def somebodys(request: pytest.FixtureRequest, queue_stack: SupabaseStack) -> AsyncIterator[SomebodysProject]:
    world = SomebodysProject(queue_stack, request.param)
    world.empty()
    yield world
    await world.close()


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
async def test_every_status_into_every_other_by_everybody(somebodys: SomebodysProject, situation: Situation) -> None:
    """The rules are those of the tables' owner: by the service role, and by a signed-in user on own meetings."""
    for wanted in MeetingStatus:
        meeting_id, claim = await situation(somebodys)
        was = SITUATIONS[situation]
        if wanted is CANCELLED and was in (PENDING, PROCESSING):
            await check_cancel(somebodys, meeting_id, claim)
        elif wanted is PENDING and was in (COMPLETED, FAILED, CANCELLED) and situation is not corrected:
            await check_retry(somebodys, meeting_id, claim)
        else:
            await check_nothing_changes(somebodys, meeting_id, wanted, claim)
        assert somebodys.broken_invariants() == []
        somebodys.delete_meeting(meeting_id)


async def test_a_status_that_does_not_exist_is_refused_in_words(postgres: PostgresWorld) -> None:
    meeting_id = await postgres.enqueue()
    for word in ("done", "PENDING", "", None):
        with pytest.raises(SupabaseQueryError, match="cannot be changed from pending to"):
            postgres.edit("update public.meetings set status = %s", word)
    assert postgres.job(meeting_id).state == "pending"


async def test_a_retry_after_three_failures_and_a_cancel_starts_at_the_first_attempt(postgres: PostgresWorld) -> None:
    """Counts begin again; the history goes on."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    for _ in range(2):
        claim = await postgres.claim(w1)
        await postgres.store.fail(meeting_id, claim.token, failure(FailureKind.FAILURE))
    postgres.edit_status(meeting_id, CANCELLED)
    postgres.edit_status(meeting_id, PENDING)
    outcomes = []
    for _ in range(3):
        claim = await postgres.claim(w1)
        outcomes.append((await postgres.store.fail(meeting_id, claim.token, failure())).outcome)
    assert outcomes == ["retrying", "retrying", "failed"]
    assert [past.attempt for past in postgres.attempts(meeting_id)] == [1, 2, 1, 2, 3]
