"""The network between a real worker and the database is cut, for less and for more than a lease, or dies half-open."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.test_worker import is_running
from tests.support.fault_proxy_faults import Cut, Silence
from tests.support.spoiled_line import LineLab, line_lab
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.crash

ON_POSTGRES = pytest.mark.parametrize("transport", ["postgres", pytest.param("supabase", marks=pytest.mark.slow)])
LEASE_RAN_OUT = "select from pc_worker.jobs where lease_expires_at < now()"


@pytest.fixture
async def lab(transport: str, crash_server_dsn: str, tmp_path: Path) -> AsyncIterator[LineLab]:
    async with line_lab(transport, crash_server_dsn, tmp_path) as lab:
        yield lab


def children_of(worker: WorkerProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]


def told(worker: WorkerProcess) -> set[str]:
    return {str(event["event"]) for event in worker.seen}


# --- cut and mended ----------------------------------------------------------------------------------------------


@pytest.mark.proves("network cut shorter than the lease")
@ON_POSTGRES
async def test_a_cut_shorter_than_the_lease_is_not_even_noticed(lab: LineLab) -> None:
    """A heartbeat is on its way while nothing passes; when it arrives, all is as before."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.2")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1", once=True)
    worker.wait_for("StageStarted", stage="transcribe")
    lab.proxy.arm(Cut(), "worker_heartbeat_v").wait_until_met()
    go.touch()
    worker.wait_for("StageFinished", stage="diarize")
    lab.proxy.mend()
    worker.wait_for("MeetingCompleted", outcome="completed")
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert told(worker) & {"StoreUnavailable", "MeetingDropped", "MeetingFailed"} == set()
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    await lab.assert_done_once(meeting_id)


@pytest.mark.proves("longer, nobody re-claimed")
@ON_POSTGRES
async def test_a_heartbeat_after_the_lease_brings_the_meeting_back(lab: LineLab) -> None:
    """Nobody has taken it meanwhile: it goes on as if nothing had been."""
    lab.hurry(lease_s=1.0)
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1", once=True)
    worker.wait_for("StageStarted", stage="transcribe")
    lab.proxy.arm(Cut(), "worker_heartbeat_v").wait_until_met()
    await lab.until(LEASE_RAN_OUT)
    lab.proxy.mend()
    await lab.until("select from pc_worker.jobs where lease_expires_at > now()")
    go.touch()
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@pytest.mark.proves("longer, nobody re-claimed")
@pytest.mark.parametrize("transport", ["postgres", "supabase"])
async def test_a_result_after_the_lease_is_taken(lab: LineLab) -> None:
    """Hours of work that arrive late, but before anybody else has begun with the meeting."""
    lab.hurry(lease_s=1.0)
    meeting_id = await lab.enqueue()
    cut = lab.proxy.arm(Cut(), "worker_complete_v")
    worker = lab.worker("w1", once=True)
    cut.wait_until_met()
    await lab.until(LEASE_RAN_OUT)
    lab.proxy.mend()
    worker.wait_for("MeetingCompleted", outcome="completed")
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    await lab.assert_done_once(meeting_id)


# --- cut, and somebody else takes the meeting ---------------------------------------------------------------------


@pytest.mark.proves("longer, re-claimed")
@ON_POSTGRES
async def test_who_comes_back_to_a_meeting_that_another_has_taken_stops_at_once(lab: LineLab) -> None:
    """Its child is killed in the middle of the work; the other one's attempt is the one that counts."""
    lab.hurry(lease_s=1.0)
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    stale = lab.worker("w1")
    stale.wait_for("StageProgressed", stage="transcribe")
    children = children_of(stale)
    lab.proxy.arm(Cut(), "worker_heartbeat_v").wait_until_met()
    other = lab.beside("w2")
    other.wait_for("StageStarted", stage="transcribe")
    lab.proxy.mend()
    assert stale.wait_for("MeetingDropped")["outcome"] == "lost"
    assert not all(map(is_running, children))
    go.touch()
    other.wait_for("MeetingCompleted")
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w2", "completed")]
    await lab.assert_done_once(meeting_id)
    assert stale.is_running


@pytest.mark.slow
@pytest.mark.proves("longer, re-claimed")
@pytest.mark.parametrize("transport", ["postgres", "supabase"])
async def test_a_result_that_comes_after_anothers_is_rejected_and_said_so(lab: LineLab) -> None:
    """The whole work was done twice, and is written once."""
    lab.hurry(lease_s=1.0)
    meeting_id = await lab.enqueue()
    cut = lab.proxy.arm(Cut(), "worker_complete_v")
    stale = lab.worker("w1")
    cut.wait_until_met()
    lab.beside("w2").wait_for("MeetingCompleted")
    lab.proxy.mend()
    assert stale.wait_for("MeetingDropped")["outcome"] == "lost"
    stale.signal(signal.SIGTERM)
    assert await asyncio.to_thread(stale.wait) == 0, stale.errors
    assert "MeetingCompleted" not in told(stale)
    assert "meeting_dropped" in stale.errors
    assert lab.attempts(meeting_id) == [("w1", "reaped"), ("w2", "completed")]
    await lab.assert_done_once(meeting_id)


# --- half-open ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.proves("half-open connection")
@pytest.mark.parametrize("transport", ["postgres", "supabase"])
async def test_connections_that_die_without_a_word_are_replaced_within_the_lease(lab: LineLab) -> None:
    """As a router does that forgets them: the heartbeat's timeout finds out. It takes its time: nothing else can."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1", once=True)
    worker.wait_for("StageProgressed", stage="transcribe")
    assert lab.proxy.half_open() > 0
    (died_at,) = lab.rows("select now()")[0]
    await lab.until(f"select from pc_worker.workers where last_seen_at > '{died_at}'")
    go.touch()
    worker.wait_for("MeetingCompleted", outcome="completed")
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@pytest.mark.proves("half-open connection")
@pytest.mark.parametrize("transport", ["postgres", "supabase"])
async def test_heartbeats_go_on_while_a_result_waits_for_an_answer_that_never_comes(lab: LineLab) -> None:
    """On a connection of their own; after a kill the result on disk is handed over."""
    lab.hurry(lease_s=1.0)
    meeting_id = await lab.enqueue()
    silent = lab.proxy.arm(Silence(), "worker_complete_v")
    worker = lab.worker("w1")
    silent.wait_until_met()
    for _ in range(3):
        (lease_ends_at,) = lab.rows("select lease_expires_at from pc_worker.jobs")[0]
        await lab.until(f"select from pc_worker.jobs where lease_expires_at > '{lease_ends_at}'")
    worker.kill()
    again = lab.worker("w1", once=True)
    again.wait_for("ResultReplayed")
    assert await asyncio.to_thread(again.wait) == 0, again.errors
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    await lab.assert_done_once(meeting_id)
