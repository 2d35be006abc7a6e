"""Real workers, really killed: nothing is lost, nothing is done twice. The tests act on the workers' own events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.conftest import Lab
from tests.support.embedded_postgres import reachable_directory
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.migrate_postgres import migrate
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_meeting_goes_through(lab: Lab) -> None:
    told = lab.folder / "told"
    await lab.store.add_words(["gluon", "Ada Lovelace"])
    meeting_id = await lab.enqueue(transcribe={"hotwords_to": str(told)})
    worker = lab.worker("w1", once=True)
    assert worker.wait() == 0, worker.errors
    found = await lab.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert told.read_text() == "gluon, Ada Lovelace"
    assert [segment.speaker_label for segment in found.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert found.summary is not None
    assert lab.leftovers == []


async def test_a_killed_workers_meeting_completes_once_and_at_once_when_it_restarts(lab: Lab) -> None:
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    first = lab.worker("w1")
    first.wait_for("StageStarted", stage="transcribe")
    first.kill()
    assert await lab.status(meeting_id) is MeetingStatus.PROCESSING

    go.touch()
    second = lab.worker("w1", once=True)
    assert second.wait() == 0, second.errors
    assert second.seen[0]["num_taken_over"] == 1
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED
    assert lab.attempts(meeting_id)[-1] == ("w1", "completed")
    assert len(lab.attempts(meeting_id)) == 2
    assert lab.rows("select count(*) from public.transcript_segments") == [(2,)]
    assert lab.leftovers == []


async def test_finished_stages_are_not_done_again_after_a_kill(lab: Lab) -> None:
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(diarize={"until": str(go)})
    first = lab.worker("w1")
    first.wait_for("StageStarted", stage="diarize")
    first.kill()
    go.touch()
    second = lab.worker("w1", once=True)
    assert second.wait() == 0, second.errors
    reused = {event["stage"] for event in second.seen if event["event"] == "StageFinished" and event["reused"]}
    assert reused == {"decode", "transcribe", "align"}
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED


async def test_children_die_with_their_worker(lab: Lab) -> None:
    pid_file = lab.folder / "grandchild"
    await lab.enqueue(transcribe={"grandchild": str(pid_file), "hang": True})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    deadline = time.monotonic() + 30
    while not pid_file.exists() or not pid_file.read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    children = [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
    assert children
    worker.kill()
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < deadline, "a child outlived its worker"
        await asyncio.sleep(0.01)


async def test_sigterm_finishes_what_fits_the_grace_and_takes_no_more(lab: Lab) -> None:
    go = lab.folder / "go"
    running = await lab.enqueue(transcribe={"until": str(go)})
    waiting = await lab.enqueue()
    worker = lab.worker("w1", MAX_CONCURRENT_JOBS="1")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGTERM)
    worker.wait_for("DrainStarted")
    go.touch()
    assert worker.wait() == 0, worker.errors
    assert await lab.status(running) is MeetingStatus.COMPLETED
    assert await lab.status(waiting) is MeetingStatus.PENDING
    assert lab.attempts(waiting) == []


async def test_what_does_not_fit_the_grace_is_given_back_and_its_attempt_refunded(lab: Lab) -> None:
    meeting_id = await lab.enqueue(transcribe={"until": "/nonexistent"})
    worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="0.3")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    assert lab.attempts(meeting_id) == [("w1", "released")]
    assert lab.rows("select num_attempts from pc_worker.jobs") == [(0,)]


async def test_a_second_sigterm_gives_back_at_once(lab: Lab) -> None:
    meeting_id = await lab.enqueue(transcribe={"until": "/nonexistent"})
    worker = lab.worker("w1", SHUTDOWN_GRACE_SECONDS="3600")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGTERM)
    worker.wait_for("DrainStarted")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.PENDING


async def test_a_drain_longer_than_its_lease_keeps_the_lease(lab: Lab) -> None:
    """Heartbeats go on until the last job is settled: another worker finds nothing to take."""
    lab.execute("update pc_worker.settings set lease_s = 1.2, grace_s = 0.2, heartbeat_s = 0.2")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    worker.signal(signal.SIGTERM)
    worker.wait_for("DrainStarted")
    other = lab.worker("w2")
    other.wait_for("WorkerStarted")
    await asyncio.sleep(4.0)  # more than three leases: time itself is what is tested
    assert lab.attempts(meeting_id) == [("w1", None)]
    go.touch()
    assert worker.wait() == 0, worker.errors
    assert lab.attempts(meeting_id) == [("w1", "completed")]


async def test_a_cancelled_meeting_stops_within_a_heartbeat(lab: Lab) -> None:
    lab.execute("update pc_worker.settings set lease_s = 1.2, grace_s = 0.2, heartbeat_s = 0.2")
    meeting_id = await lab.enqueue(transcribe={"until": "/nonexistent"})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    assert (await lab.store.cancel(meeting_id)).outcome == "cancelled"
    assert worker.wait_for("MeetingDropped")["outcome"] == "cancelled"
    assert lab.leftovers == []
    assert await lab.status(meeting_id) is MeetingStatus.CANCELLED


async def test_an_engine_that_dies_costs_one_attempt_not_the_service(lab: Lab) -> None:
    count = str(lab.folder / "count")
    script = {"kill_signal": int(signal.SIGSEGV), "only_first": 1, "count_file": count}
    meeting_id = await lab.enqueue(transcribe=script)
    worker = lab.worker("w1", once=True)
    failed = worker.wait_for("MeetingFailed")
    assert (failed["code"], failed["outcome"]) == ("engine_crashed", "retrying")
    lab.execute("update pc_worker.jobs set run_at = now()")
    assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED


async def test_a_recording_that_kills_engines_is_called_poison(lab: Lab) -> None:
    poison = await lab.enqueue(transcribe={"kill_signal": int(signal.SIGKILL)})
    harmless = await lab.enqueue()
    worker = lab.worker("w1", once=True)
    worker.wait_for("MeetingFailed", outcome="retrying")
    lab.execute("update pc_worker.jobs set run_at = now()")
    assert worker.wait() == 0, worker.errors
    found = await lab.found(poison)
    assert (found.meeting.status, found.meeting.error_code) == (MeetingStatus.FAILED, "poison")
    assert await lab.status(harmless) is MeetingStatus.COMPLETED


@pytest.mark.proves("same WORKER_ID twice")
async def test_the_same_worker_id_twice_on_one_host_is_refused(lab: Lab) -> None:
    first = lab.worker("w1")
    first.wait_for("WorkerStarted")
    second = lab.worker("w1")
    assert second.wait() != 0
    assert "already running on this PC" in second.errors
    assert first.is_running


async def test_a_finished_result_survives_a_database_that_is_away_and_a_kill(lab: Lab) -> None:
    """The result is on disk before it is sent; the next start hands it over without computing anything again."""
    meeting_id = await lab.enqueue()
    with_function = "select p.oid::regprocedure::text from pg_proc p where proname = 'worker_complete_v2'"
    signature = lab.rows(with_function)[0][0]
    lab.execute(f"alter function {signature} rename to worker_complete_away")
    worker = lab.worker("w1")
    worker.wait_for("StoreUnavailable", call="complete")
    worker.kill()
    lab.execute(f"alter function {signature.replace('_v2', '_away')} rename to worker_complete_v2")
    again = lab.worker("w1", once=True)
    assert again.wait() == 0, again.errors
    assert [event["event"] for event in again.seen if event["event"].startswith("Stage")] == []
    assert again.seen[0]["event"] == "ResultReplayed"
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED
    assert lab.leftovers == []


async def test_four_workers_on_one_queue_complete_each_meeting_exactly_once(lab: Lab) -> None:
    """200 meetings, 4 worker processes."""
    for number in range(200):
        await lab.enqueue(f"meeting {number}")
    workers = [lab.worker(f"w{number}", once=True) for number in range(4)]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0], "".join(worker.errors for worker in workers)
    assert lab.rows("select status, count(*) from public.meetings group by 1") == [("completed", 200)]
    assert lab.rows("select outcome, count(*) from pc_worker.job_attempts group by 1") == [("completed", 200)]
    assert lab.rows("select count(*) from public.transcript_segments") == [(400,)]
    assert lab.rows("select count(*) from public.meeting_summaries") == [(200,)]
    completed = Counter(e["meeting_id"] for w in workers for e in w.seen if e["event"] == "MeetingCompleted")
    assert len(completed) == 200
    assert set(completed.values()) == {1}
    assert lab.leftovers == []


@pytest.mark.proves("database restarts, is down for hours")
async def test_a_killed_embedded_database_comes_back_and_the_meeting_completes(tmp_path: Path) -> None:
    """The worker on its own Postgres: the server is killed while a meeting is transcribed."""
    with reachable_directory() as base:
        server = EmbeddedPostgres(base / "postgres")
        dsn = server.start()
        await asyncio.to_thread(migrate, dsn)
        lab = Lab(dsn, tmp_path)
        go = tmp_path / "go"
        meeting_id = await lab.enqueue(transcribe={"until": str(go)})
        worker = lab.worker("w1", once=True, DATABASE_URL=f"embedded:{base / 'postgres'}")
        worker.wait_for("StageStarted", stage="transcribe")
        postmaster = int((base / "postgres" / "cluster" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        go.touch()
        assert worker.wait() == 0, worker.errors
        assert any(told["event"] == "StoreUnavailable" for told in worker.seen)
        server.start()
        assert await lab.status(meeting_id) is MeetingStatus.COMPLETED
        await lab.close()
        server.stop()
