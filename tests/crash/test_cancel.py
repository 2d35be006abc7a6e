"""People cancel or delete a meeting while a worker is at it: it stops, leaves nothing, and takes the next one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.crash.conftest import Lab
from tests.support.children import is_running, wait_until
from tests.support.worker_process import PATIENCE_S, WorkerProcess
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash

SHORT = "update pc_worker.settings set lease_s = 6, grace_s = 1, heartbeat_s = 0.2"
NEVER = "/nonexistent"
OFTEN = "--sweep-every=0.2"


async def by_hand(lab: Lab, meeting_id: UUID) -> str:
    lab.execute(f"update public.meetings set status = 'cancelled' where id = '{meeting_id}'")
    return "cancelled"


async def by_function(lab: Lab, meeting_id: UUID) -> str:
    assert (await lab.store.cancel(meeting_id)).outcome == "cancelled"
    return "cancelled"


async def by_deletion(lab: Lab, meeting_id: UUID) -> str:
    lab.execute(f"delete from public.meetings where id = '{meeting_id}'")
    return "gone"


End = Callable[[Lab, UUID], Awaitable[str]]
ENDS = pytest.mark.parametrize("end", [by_hand, by_deletion], ids=lambda end: end.__name__)
"""Each answers what the worker is to be told. The function does what an edit by hand does."""


async def assert_ended(lab: Lab, meeting_id: UUID, told: str) -> None:
    """Cancelled, or not there any more; and nothing of a result."""
    if told == "gone":
        assert await lab.store.meeting(meeting_id) is None
    else:
        assert await lab.status(meeting_id) is MeetingStatus.CANCELLED
        assert {outcome for _, outcome in lab.attempts(meeting_id)} <= {"cancelled", "reaped", "failure", "waiting"}
    for table in ("transcript_segments", "meeting_speakers", "meeting_summaries", "speaker_embeddings"):
        assert lab.rows(f"select 1 from public.{table} where meeting_id = '{meeting_id}'") == []
    lab.assert_sound()


async def assert_next_goes_through(lab: Lab, worker: WorkerProcess) -> None:
    following = await lab.enqueue("the next one")
    worker.wait_for("MeetingCompleted", meeting_id=str(following))
    await lab.assert_done_once(following)


def set_complete_aside(lab: Lab) -> Callable[[], None]:
    """As long as it is away, workers keep their results. Returns what puts it back."""
    ((signature,),) = lab.rows("select oid::regprocedure::text from pg_proc where proname = 'worker_complete_v2'")
    lab.execute(f"alter function {signature} rename to worker_complete_away")
    away = signature.replace("_v2", "_away")
    return lambda: lab.execute(f"alter function {away} rename to worker_complete_v2")


def pid_in(file: Path) -> int:
    assert wait_until(lambda: file.exists() and file.read_text() != "")
    return int(file.read_text())


# --- while a child computes ------------------------------------------------------------------------------------------


@pytest.mark.proves("cancelled or deleted by a user")
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["decode", "transcribe", "align", "diarize", "summarize"])
@ENDS
async def test_what_computes_is_ended_and_its_folder_removed(lab: Lab, stage: str, end: End) -> None:
    """The process, and what that had started, are gone when the worker says that it dropped the meeting."""
    lab.execute(SHORT)
    pid_file = lab.folder / "pid"
    script: dict[str, Any] = {"grandchild": str(pid_file), "until": NEVER}
    flags: list[str] = []
    if stage == "summarize":  # the script is for the next meeting too
        script = {"grandchild": str(pid_file), "hang": True, "only_first": 1, "count_file": str(lab.folder / "count")}
        flags = [f"--summarize={json.dumps(script)}"]
    meeting_id = await lab.enqueue("meeting", **{stage: script})
    worker = lab.worker("w1", flags=flags)
    worker.wait_for("StageStarted", stage=stage)
    grandchild = pid_in(pid_file)
    told = await end(lab, meeting_id)
    assert worker.wait_for("MeetingDropped")["outcome"] == told
    assert wait_until(lambda: not is_running(grandchild))
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


# --- before and between ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@ENDS
async def test_a_meeting_that_waits_is_never_begun(lab: Lab, end: End) -> None:
    """Pending behind another one."""
    go = lab.folder / "go"
    running = await lab.enqueue(transcribe={"until": str(go)})
    waiting = await lab.enqueue()
    worker = lab.worker("w1", MAX_CONCURRENT_JOBS="1")
    worker.wait_for("StageStarted", stage="transcribe")
    told = await end(lab, waiting)
    go.touch()
    worker.wait_for("MeetingCompleted", meeting_id=str(running))
    await assert_next_goes_through(lab, worker)
    await assert_ended(lab, waiting, told)
    assert not any(event.get("meeting_id") == str(waiting) for event in worker.seen)


@pytest.mark.slow
@ENDS
async def test_a_meeting_that_waits_for_its_recording_is_not_tried_again(lab: Lab, end: End) -> None:
    meeting_id = await lab.enqueue()
    recording = lab.folder / "recordings" / "lab" / str(meeting_id) / "audio.json"
    recording.unlink()
    worker = lab.worker("w1", flags=[OFTEN])
    assert worker.wait_for("MeetingFailed")["outcome"] == "retrying"
    assert (await lab.found(meeting_id)).meeting.stage == "waiting_for_audio"
    told = await end(lab, meeting_id)
    recording.write_text("{}")
    worker.wait_for("FoldersSwept", reason=told)
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


@pytest.mark.proves("cancelled or deleted by a user")
@pytest.mark.slow
@ENDS
async def test_what_was_kept_between_a_failure_and_the_next_try_is_removed(lab: Lab, end: End) -> None:
    """Nobody works on it, so nobody is told; the worker looks by itself (hourly in life)."""
    meeting_id = await lab.enqueue(align={"raise_code": "engine_failed"})
    worker = lab.worker("w1", flags=[OFTEN])
    assert worker.wait_for("MeetingFailed")["outcome"] == "retrying"
    assert lab.leftovers == [str(meeting_id)]
    told = await end(lab, meeting_id)
    worker.wait_for("FoldersSwept", reason=told)
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


async def test_a_failure_that_comes_after_a_cancel_leaves_nothing_on_the_pc(lab: Lab) -> None:
    """The worker learns of the cancel by the answer to its report, before any heartbeat could say so."""
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(
        align={"until": str(go), "raise_code": "engine_failed"}, transcribe={"until": str(go)}
    )
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGSTOP)
    told = await by_hand(lab, meeting_id)
    go.touch()
    worker.signal(signal.SIGCONT)
    assert worker.wait_for("MeetingFailed")["outcome"] == "cancelled"
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


# --- around the commit -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@ENDS
async def test_a_result_that_is_computed_but_not_sent_is_dropped(lab: Lab, end: End) -> None:
    """Stopped at the first moment of `commit`, when all is computed and nothing is written."""
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=["--signal-at=SIGSTOP@StageStarted:commit"])
    worker.wait_for("StageStarted", stage="commit")
    told = await end(lab, meeting_id)
    worker.signal(signal.SIGCONT)
    assert worker.wait_for("MeetingDropped")["outcome"] == told
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


@pytest.mark.slow
@pytest.mark.parametrize("end", [by_hand, by_function, by_deletion], ids=lambda end: end.__name__)
async def test_a_result_that_waits_for_the_database_is_dropped(lab: Lab, end: End) -> None:
    """It is on disk, and the call that takes it is away; the heartbeat gets through."""
    lab.execute(SHORT)
    meeting_id = await lab.enqueue()
    put_back = set_complete_aside(lab)
    worker = lab.worker("w1")
    worker.wait_for("StoreUnavailable", call="complete")
    told = await end(lab, meeting_id)
    assert worker.wait_for("MeetingDropped")["outcome"] == told
    assert lab.leftovers == []
    put_back()
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, worker)


async def is_blocked(lab: Lab) -> None:
    """Until somebody waits for somebody else's lock."""
    async with asyncio.timeout(PATIENCE_S):
        while not lab.rows("select 1 from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("edit", ["update public.meetings set status = 'cancelled'", "delete from public.meetings"])
@pytest.mark.parametrize("is_taken_back", [False, True], ids=["committed", "rolled back"])
@pytest.mark.slow
async def test_who_is_before_the_result_wins(lab: Lab, edit: str, is_taken_back: bool) -> None:
    """The edit has the row, and the result waits for it; an edit that is rolled back has never been."""
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=["--signal-at=SIGSTOP@StageStarted:commit"])
    worker.wait_for("StageStarted", stage="commit")
    with psycopg.connect(lab.dsn) as editor:
        editor.execute(edit.encode())
        worker.signal(signal.SIGCONT)
        await is_blocked(lab)
        if is_taken_back:
            editor.rollback()
    if is_taken_back:
        worker.wait_for("MeetingCompleted")
        await lab.assert_done_once(meeting_id)
        return
    told = "gone" if edit.startswith("delete") else "cancelled"
    assert worker.wait_for("MeetingDropped")["outcome"] == told
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)


async def test_who_is_after_the_result_is_refused(lab: Lab) -> None:
    """The result has the row and is being written; the edit waits for it, and then learns that it comes too late."""
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=["--signal-at=SIGSTOP@StageStarted:commit"])
    worker.wait_for("StageStarted", stage="commit")
    with psycopg.connect(lab.dsn) as holder:
        holder.execute("lock table public.transcript_segments in share mode")
        worker.signal(signal.SIGCONT)
        await is_blocked(lab)
        cancelling = asyncio.create_task(lab.store.cancel(meeting_id))
        editing = asyncio.create_task(asyncio.to_thread(lab.execute, "update public.meetings set status = 'cancelled'"))
        async with asyncio.timeout(PATIENCE_S):
            while len(lab.rows("select 1 from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0")) < 3:
                await asyncio.sleep(0.01)
        holder.rollback()
    answer = await cancelling
    assert (answer.outcome, answer.message) == ("refused", "The meeting is completed already.")
    with pytest.raises(psycopg.errors.RaiseException, match="from completed to cancelled by hand"):
        await editing
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)


# --- while nobody looks ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@ENDS
async def test_a_result_that_a_worker_kept_while_it_was_off_is_dropped_at_its_next_start(lab: Lab, end: End) -> None:
    meeting_id = await lab.enqueue()
    put_back = set_complete_aside(lab)
    first = lab.worker("w1")
    first.wait_for("StoreUnavailable", call="complete")
    first.kill()
    put_back()
    assert (lab.folder / "temp_audio" / str(meeting_id) / "result.json").exists()
    told = await end(lab, meeting_id)
    second = lab.worker("w1")
    assert second.wait_for("ResultReplayed")["outcome"] == told
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, second)


@pytest.mark.slow
@ENDS
async def test_half_a_meeting_that_a_worker_kept_while_it_was_off_is_removed_at_its_next_start(
    lab: Lab, end: End
) -> None:
    meeting_id = await lab.enqueue()
    first = lab.worker("w1", flags=["--signal-at=SIGKILL@StageStarted:diarize"])
    first.wait()
    assert lab.leftovers == [str(meeting_id)]
    told = await end(lab, meeting_id)
    second = lab.worker("w1")
    second.wait_for("FoldersSwept", reason=told)
    assert lab.leftovers == []
    await assert_ended(lab, meeting_id, told)
    await assert_next_goes_through(lab, second)


@pytest.mark.proves("cancelled or deleted by a user")
@pytest.mark.slow
async def test_a_worker_that_slept_through_cancel_and_retry_writes_nothing(lab: Lab) -> None:
    """Another one has done the meeting meanwhile; the sleeper's whole result is rejected."""
    meeting_id = await lab.enqueue()
    sleeper = lab.worker("w1", flags=["--signal-at=SIGSTOP@StageStarted:commit"])
    sleeper.wait_for("StageStarted", stage="commit")
    await by_hand(lab, meeting_id)
    lab.execute("update public.meetings set status = 'pending'")
    other = lab.worker("w2", once=True, AUDIO_TEMP_DIR=str(lab.folder / "other_temp"))
    assert other.wait() == 0, other.errors
    done_at = (await lab.found(meeting_id)).meeting.completed_at
    sleeper.signal(signal.SIGCONT)
    assert sleeper.wait_for("MeetingDropped")["outcome"] == "cancelled"
    await lab.assert_done_once(meeting_id)
    assert (await lab.found(meeting_id)).meeting.completed_at == done_at
    assert lab.attempts(meeting_id) == [("w1", "cancelled"), ("w2", "completed")]


@pytest.mark.slow
async def test_a_worker_that_claims_a_meeting_anew_while_its_own_first_try_runs(lab: Lab) -> None:
    """Cancelled and retried in one transaction between two heartbeats: both tries are in one process for a moment."""
    lab.execute("update pc_worker.settings set lease_s = 30, heartbeat_s = 10")
    count = str(lab.folder / "count")
    meeting_id = await lab.enqueue(transcribe={"hang": True, "only_first": 1, "count_file": count})
    worker = lab.worker("w1", MAX_CONCURRENT_JOBS="2")
    worker.wait_for("StageStarted", stage="transcribe")
    with psycopg.connect(lab.dsn) as editor:
        for status in ("cancelled", "pending"):
            editor.execute("update public.meetings set status = %s", [status])
        editor.execute("update pc_worker.jobs set run_at = now() - interval '1 hour'")
    assert worker.wait_for("MeetingClaimed")["attempt"] == 1
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "cancelled"), ("w1", "completed")]
