"""What only a database can show: races, locks, transactions, broken connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from uuid import uuid4

import psycopg
import pytest

from tests.support.embedded_postgres import reachable_directory
from tests.support.queue_values import failure, result, segment, voice, worker_info
from tests.support.queue_worlds import PostgresWorld
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.exceptions import SupabaseConnectionError, SupabaseQueryError
from worker.models import Beat, MeetingStatus, NewMeeting, SpeakerEmbedding, Stage, Trouble

# --- races -------------------------------------------------------------------------------------------------------


async def test_many_claimers_get_distinct_meetings(postgres: PostgresWorld) -> None:
    """Skip locked: nobody waits, nobody shares."""
    workers = [await postgres.worker(f"w{number}") for number in range(4)]
    ids = {await postgres.enqueue(str(number)) for number in range(20)}
    stores = [postgres.another_store() for _ in workers]

    async def work(number: int) -> list[object]:
        info = workers[number]
        answers = [await stores[number].claim(info.worker_id, info.instance_id, uuid4()) for _ in range(5)]
        return [answer.claim.meeting.id for answer in answers if answer.claim]

    claimed = [meeting_id for part in await asyncio.gather(*map(work, range(4))) for meeting_id in part]
    assert len(claimed) == 20
    assert set(claimed) == ids


async def test_a_repeated_claim_that_overtakes_the_first_gets_the_same_job(postgres: PostgresWorld) -> None:
    """The client timed out and asked again while the server was still at it: one lease, not two."""
    w1 = await postgres.worker()
    for title in "abcdef":
        await postgres.enqueue(title)
    claim_id = uuid4()
    stores = [postgres.another_store() for _ in range(4)]
    answers = await asyncio.gather(*(store.claim(w1.worker_id, w1.instance_id, claim_id) for store in stores))
    assert len({answer.claim.token for answer in answers if answer.claim}) == 1
    assert postgres.rows("select count(*) as num from pc_worker.jobs where state = 'processing'") == [{"num": 1}]


async def test_a_row_that_somebody_edits_is_claimed_later_not_waited_for(postgres: PostgresWorld) -> None:
    """An open transaction in a SQL editor holds up nobody else."""
    w1 = await postgres.worker()
    edited, free = await postgres.enqueue("edited"), await postgres.enqueue("free")
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set title = 'being edited' where id = %s", [edited])
        assert (await postgres.claim(w1)).meeting.id == free
        assert await postgres.try_claim(w1) is None
        editor.commit()
    assert (await postgres.claim(w1)).meeting.title == "being edited"


async def test_a_heartbeat_never_waits_for_a_lock(postgres: PostgresWorld) -> None:
    """It answers at once, and extends what it can: the job, though not the locked meeting's progress."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("update public.meetings set title = 'being edited' where id = %s", [meeting_id])
        assert await postgres.beat(w1, claim, Stage.ALIGN, 0.5) == "ok"
        editor.execute("select from pc_worker.jobs where meeting_id = %s for update", [meeting_id])
        assert await postgres.beat(w1, claim) == "ok"
    assert await postgres.beat(w1, claim, Stage.ALIGN, 0.6) == "ok"
    assert (await postgres.store.meetings())[0].progress == 0.6


async def test_complete_and_cancel_at_once_have_one_winner(postgres: PostgresWorld) -> None:
    """Whoever comes second learns it, and the row is whole either way."""
    w1 = await postgres.worker()
    other = postgres.another_store()
    for number in range(15):
        meeting_id = await postgres.enqueue(str(number))
        claim = await postgres.claim(w1)
        completed, cancelled = await asyncio.gather(
            postgres.store.complete(meeting_id, claim.token, result("text")), other.cancel(meeting_id)
        )
        outcome = (completed.outcome, cancelled.outcome, await postgres.status_of(meeting_id))
        assert outcome in [
            ("completed", "refused", MeetingStatus.COMPLETED),
            ("cancelled", "cancelled", MeetingStatus.CANCELLED),
        ]
        assert await postgres.texts(meeting_id) == (["text"] if outcome[0] == "completed" else [])


async def test_complete_and_delete_at_once_leave_nothing_half(postgres: PostgresWorld) -> None:
    """No segments, voices or speakers without a meeting."""
    w1 = await postgres.worker()
    for _ in range(15):
        meeting_id = await postgres.enqueue()
        claim = await postgres.claim(w1)
        completed, _ = await asyncio.gather(
            postgres.store.complete(meeting_id, claim.token, result("text")),
            asyncio.to_thread(postgres.delete_meeting, meeting_id),
        )
        assert completed.outcome in ("completed", "gone")
    assert postgres.speaker_rows() == []
    assert postgres.rows("select count(*) as num from public.transcript_segments") == [{"num": 0}]


# --- transactions ------------------------------------------------------------------------------------------------


async def test_a_result_that_breaks_a_rule_writes_nothing_at_all(postgres: PostgresWorld) -> None:
    """The old result stands, the holder keeps its job and may fail it."""
    w1 = await postgres.worker()
    meeting_id = await postgres.completed(w1, "old")
    speakers = postgres.speaker_rows()
    await postgres.store.retry(meeting_id)
    claim = await postgres.claim(w1)
    bad = segment(1, "bad").model_copy(update={"end_s": -5.0})
    broken = result("new").model_copy(update={"segments": (segment(0, "new"), bad)})
    with pytest.raises(SupabaseQueryError):
        await postgres.store.complete(meeting_id, claim.token, broken)
    assert await postgres.texts(meeting_id) == ["old"]
    assert postgres.speaker_rows() == speakers
    assert (await postgres.store.fail(meeting_id, claim.token, failure())).outcome == "retrying"


async def test_a_result_with_missing_segments_is_refused(postgres: PostgresWorld) -> None:
    """The announced number has to be there."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    payload = {"num_segments": 2, "segments": [], "speakers": [], "summary": None, "duration_s": 1.0, "result": {}}
    with pytest.raises(SupabaseQueryError):
        await postgres.store.call(  # type: ignore[attr-defined]  # of PostgresStore
            "worker_complete_v1", p_meeting_id=meeting_id, p_token=claim.token, p_result=payload
        )
    assert await postgres.status_of(meeting_id) is MeetingStatus.PROCESSING


async def test_text_that_postgres_cannot_hold_is_mended_not_lost(postgres: PostgresWorld) -> None:
    """A NUL or half a surrogate pair from an engine must not cost the transcript."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue("a\x00b")
    claim = await postgres.claim(w1)
    assert claim.meeting.title == "ab"
    await postgres.store.complete(meeting_id, claim.token, result("x\x00y", "half \ud83d pair", "whole \U0001f600"))
    assert await postgres.texts(meeting_id) == ["xy", "half ? pair", "whole \U0001f600"]


async def test_heartbeats_stay_hot(postgres: PostgresWorld) -> None:
    """No index is touched, so hundreds of workers beating for hours leave the queue as small as it was."""
    w1 = await postgres.worker()
    for title in "abc":
        await postgres.enqueue(title)
    claims = [await postgres.claim(w1) for _ in range(3)]
    read = (
        "select sum(n_tup_upd) as num, sum(n_tup_hot_upd) as num_hot from pg_stat_user_tables"
        " where schemaname = 'pc_worker' and relname in ('jobs', 'workers')"
    )
    beats = [Beat(meeting_id=claim.meeting.id, token=claim.token) for claim in claims]
    before = await counted(postgres, read)
    for number in range(200):
        postgres.advance(1)
        trouble = Trouble(code="disk_full", sentence=f"{number // 10} GB are missing.")
        await postgres.store.heartbeat(w1.worker_id, w1.instance_id, beats, [trouble])
    after = await counted(postgres, read)
    assert after["num"] - before["num"] == 600 + 200 + 20, "each lease, each sight of the worker, each new sentence"
    assert after["num_hot"] - before["num_hot"] == 820


async def counted(world: PostgresWorld, statement: str) -> dict[str, int]:
    """Statistics of sessions are only complete once these have ended."""
    await world.store.close()
    own = "select count(*) as num from pg_stat_activity where application_name = 'contract test'"
    while world.rows(own)[0]["num"]:
        await asyncio.sleep(0.01)
    return world.rows(statement)[0]


# --- rows by hand ------------------------------------------------------------------------------------------------


async def test_a_new_row_must_be_pending_and_brings_no_result(postgres: PostgresWorld) -> None:
    """Nobody inserts a finished meeting, or one with a worker's fields filled in."""
    with pytest.raises(SupabaseQueryError, match="starts with status pending"):
        postgres.edit("insert into public.meetings (title, status, error_code) values ('x', 'failed', 'x')")
    postgres.edit("insert into public.meetings (title, stage, result) values ('x', 'commit', '{}')")
    meeting = (await postgres.store.meetings())[0]
    assert (meeting.stage, meeting.result, meeting.status) == (None, None, MeetingStatus.PENDING)


async def test_who_may_edit_the_tables_cannot_pass_for_a_worker(postgres: PostgresWorld) -> None:
    """A role with every right on the public tables: its edits are hand edits, whatever it sets."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    await postgres.claim(w1)
    grant = "grant all on all tables in schema public to table_editor"
    postgres.admin.execute(f"create role table_editor bypassrls; {grant}".encode())
    try:
        postgres.admin.execute("set role table_editor")
        postgres.admin.execute("insert into public.meetings (title) values ('theirs')")
        with pytest.raises(SupabaseQueryError, match="by hand"):
            postgres.edit("update public.meetings set status = 'completed', completed_at = now()")
        with pytest.raises(SupabaseQueryError):
            postgres.edit("update pc_worker.jobs set state = 'completed'")
        postgres.edit_status(meeting_id, MeetingStatus.CANCELLED)
    finally:
        postgres.admin.execute("reset role; drop owned by table_editor; drop role table_editor")
    assert postgres.job(meeting_id).state == "cancelled"


async def test_a_correction_is_marked_whoever_is_named_as_speaker(postgres: PostgresWorld) -> None:
    """Giving a passage to the right speaker is a correction too."""
    w1 = await postgres.worker()
    meeting_id = await postgres.completed(w1, "hello")
    postgres.edit("update public.transcript_segments set speaker_label = 'SPEAKER_01'")
    assert (await postgres.store.retry(meeting_id)).outcome == "refused"


async def test_settings_are_the_databases(postgres: PostgresWorld) -> None:
    """One row decides for the whole fleet; workers learn the lease when they register and claim."""
    postgres.edit("update pc_worker.settings set lease_s = 9, heartbeat_s = 1.5, grace_s = 3, max_failures = 1")
    w1 = worker_info()
    assert (await postgres.store.register(w1)).lease_s == 9
    await postgres.enqueue()
    claim = await postgres.claim(w1)
    assert claim.lease_s == 9
    assert (await postgres.store.fail(claim.meeting.id, claim.token, failure())).outcome == "failed"


async def test_a_speakers_embedding_is_derived_from_the_model_with_most_speech(postgres: PostgresWorld) -> None:
    """The mean, weighted by speech, of length one."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    heard = [("wide", (1.0, 0.0), 6.0), ("wide", (0.0, 1.0), 2.0), ("narrow", (0.0, 0.0, 1.0), 7.0)]
    embeddings = tuple(
        SpeakerEmbedding(label="SPEAKER_00", model=model, dim=len(vector), vector=vector, speech_s=speech_s)
        for model, vector, speech_s in heard
    )
    one = voice("SPEAKER_00").model_copy(update={"embeddings": embeddings})
    await postgres.store.complete(meeting_id, claim.token, result("x", voices=(one,)))
    assert postgres.speaker_rows()[0].embedding == pytest.approx((3 / 10**0.5, 1 / 10**0.5), abs=1e-6)


async def test_columns_that_a_newer_database_adds_are_ignored(postgres: PostgresWorld) -> None:
    """So a database can be migrated before the workers."""
    w1 = await postgres.worker()
    meeting_id = await postgres.completed(w1)
    tables = ("meetings", "transcript_segments", "meeting_speakers", "meeting_summaries")
    for table in tables:
        postgres.edit(f"alter table public.{table} add column later text default 'x'")
    try:
        assert (await postgres.store.meeting(meeting_id)) is not None
    finally:
        for table in tables:
            postgres.edit(f"alter table public.{table} drop column later")


# --- broken connections ------------------------------------------------------------------------------------------


async def test_a_connection_that_was_cut_is_replaced(postgres: PostgresWorld) -> None:
    """Between two calls: the second one does not notice."""
    meeting_id = await postgres.enqueue()
    await asyncio.gather(*(postgres.store.status() for _ in range(4)))
    postgres.rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'contract test'")
    assert [meeting.id for meeting in await postgres.store.meetings()] == [meeting_id]


async def test_a_connection_cut_in_the_middle_of_a_call_is_repeated(postgres: PostgresWorld) -> None:
    """The call waits for a lock when its connection dies; it is made again and counts once."""
    w1 = await postgres.worker()
    meeting_id = await postgres.enqueue()
    claim = await postgres.claim(w1)
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("select from public.meetings where id = %s for update", [meeting_id])
        call = asyncio.create_task(postgres.store.complete(meeting_id, claim.token, result("once")))
        await until(lambda: has_waiting_backend(postgres))
        postgres.rows("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'")
        editor.rollback()
        assert (await call).outcome == "completed"
    assert await postgres.texts(meeting_id) == ["once"]


async def test_a_cancelled_call_does_not_spoil_the_next(postgres: PostgresWorld) -> None:
    """A task that is cancelled in mid-call takes its connection with it, not the store."""
    meeting_id = await postgres.enqueue()
    with psycopg.connect(postgres.dsn) as editor:
        editor.execute("select from public.meetings where id = %s for update", [meeting_id])
        call = asyncio.create_task(postgres.store.cancel(meeting_id))
        await until(lambda: has_waiting_backend(postgres))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (await postgres.store.cancel(meeting_id)).outcome in ("cancelled", "already_done")


async def has_waiting_backend(world: PostgresWorld) -> bool:
    return bool(world.rows("select 1 as one from pg_stat_activity where wait_event_type = 'Lock'"))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_an_unreachable_server_is_a_connection_error_without_secrets() -> None:
    """After three tries; the message names no host, user or password."""
    store = PostgresStore("postgresql://user:hunter2@127.0.0.1:1/nowhere", application_name="test")
    with pytest.raises(SupabaseConnectionError) as caught:
        await store.status()
    assert not any(word in str(caught.value) for word in ("hunter2", "127.0.0.1", "nowhere"))
    assert "hunter2" not in str(caught.value.details)


async def test_a_server_that_never_answers_is_given_up() -> None:
    """It takes the connection and is silent, as a half-dead gateway does: each try ends at its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = PostgresStore(f"host=127.0.0.1 port={port} sslmode=disable", application_name="t", call_timeout_s=0.2)
        with pytest.raises(SupabaseConnectionError):
            await store.status()
        silent.setblocking(False)
        for _ in range(3):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_the_store_outlives_its_server() -> None:
    """kill -9 of the whole server between two calls and in the middle of one; what was committed is there."""
    with reachable_directory() as directory:
        server = EmbeddedPostgres(directory, durable=False)
        dsn = server.start()
        try:
            migrate(dsn)
            await survive_kills(server, dsn)
        finally:
            server.stop()


async def survive_kills(server: EmbeddedPostgres, dsn: str) -> None:
    store, w1 = PostgresStore(dsn, application_name="survivor"), worker_info()
    await store.register(w1)
    meeting_id = await store.enqueue(NewMeeting(title="t", audio_path="lab/a.wav"))
    kill_server(dsn)
    with pytest.raises(SupabaseConnectionError):
        await store.status()
    await asyncio.to_thread(server.start)
    claim = (await store.claim(w1.worker_id, w1.instance_id, uuid4())).claim
    assert claim is not None
    assert claim.meeting.id == meeting_id
    editor = psycopg.connect(dsn)
    editor.execute("select from public.meetings for update")
    call = asyncio.create_task(store.complete(meeting_id, claim.token, result("kept")))
    await until(lambda: is_blocked(dsn))
    kill_server(dsn)
    editor.close()
    with pytest.raises(SupabaseConnectionError):
        await call
    await asyncio.to_thread(server.start)
    assert (await store.complete(meeting_id, claim.token, result("kept"))).outcome == "completed"
    assert (await store.complete(meeting_id, claim.token, result("kept"))).outcome == "already_done"
    await store.close()


async def is_blocked(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pg_stat_activity where wait_event_type = 'Lock'").fetchone()
        return row is not None and row[0] > 0


def kill_server(dsn: str) -> None:
    """All its processes at once: backends outlive a killed postmaster for a moment."""
    with psycopg.connect(dsn) as connection:
        pids = [row[0] for row in connection.execute("select pid from pg_stat_activity").fetchall()]
        row = connection.execute("select pg_read_file('postmaster.pid')").fetchone()
    assert row is not None
    for pid in [int(row[0].split()[0]), *pids]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
