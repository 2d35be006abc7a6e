"""The database is away for a moment or for many leases, or serves nobody: work goes on and is handed over once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.crash.conftest import Lab
from tests.support.mortal_postgres import MortalPostgres
from tests.support.worker_process import WorkerProcess
from worker.models import MeetingStatus

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(300)]

LEASE_S = 4.0
SHORT_LEASES = f"update pc_worker.settings set lease_s = {LEASE_S}, heartbeat_s = 1, grace_s = 1"
LONG_PATIENCE_S = 150.0
"""A call that was repeated in vain many times is repeated once a minute."""

STAGES = ("decode", "transcribe", "align", "diarize", "summarize")


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_restart_in_every_stage_costs_nothing(mortal_lab: Lab, mortal_server: MortalPostgres, how: str) -> None:
    lab = mortal_lab
    gates = {stage: lab.folder / stage for stage in STAGES}
    meeting_id = await lab.enqueue("in every stage", **{stage: {"until": str(gate)} for stage, gate in gates.items()})
    worker = lab.worker("w1")
    for stage, gate in gates.items():
        worker.wait_for("StageStarted", stage=stage)
        getattr(mortal_server, how)()
        mortal_server.start()
        gate.touch()
    worker.wait_for("MeetingCompleted", outcome="completed")
    assert worker.is_running
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


class Busy:
    """Workers with one meeting each, which is computed until it is let go, and one that would take any of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.workers: list[WorkerProcess] = []
        self.meetings = [lab.folder / f"go-{number}" for number in range(3)]

    async def begin(self) -> None:
        self.ids = [await self.lab.enqueue(transcribe={"until": str(go)}) for go in self.meetings]
        for number in range(3):
            worker = self.lab.worker(f"w{number}", MAX_CONCURRENT_JOBS="1")
            self.workers.append(worker)
            worker.wait_for("StageStarted", stage="transcribe")
        self.robber = self.lab.worker("robber")
        self.robber.wait_for("WorkerStarted")
        held = {str(event["meeting_id"]) for worker in self.workers for event in claims_of(worker)}
        assert held == {str(meeting_id) for meeting_id in self.ids}

    async def assert_nobody_was_robbed(self) -> None:
        for worker in self.workers:
            worker.wait_until_told("MeetingCompleted", outcome="completed", patience_s=LONG_PATIENCE_S)
        for meeting_id in self.ids:
            assert [outcome for _, outcome in self.lab.attempts(meeting_id)] == ["completed"]
            await self.lab.assert_done_once(meeting_id)
        assert all(worker.is_running for worker in [*self.workers, self.robber])
        assert claims_of(self.robber) == []


def claims_of(worker: WorkerProcess) -> list[dict[str, object]]:
    return [event for event in worker.seen if event["event"] == "MeetingClaimed"]


@pytest.mark.proves("database restarts, is down for hours")
async def test_a_database_that_is_down_for_ten_leases_robs_nobody(
    mortal_lab: Lab, mortal_server: MortalPostgres
) -> None:
    """One is finished while it is away and keeps its result, one right when it is back, one long after."""
    mortal_lab.execute(SHORT_LEASES)
    busy = Busy(mortal_lab)
    await busy.begin()
    mortal_server.kill()
    busy.meetings[0].touch()
    for worker in busy.workers:
        worker.wait_for("StoreUnavailable", call="heartbeat")
    await asyncio.sleep(10 * LEASE_S)  # time itself is what is tested
    busy.meetings[1].touch()
    mortal_server.start()
    for worker in busy.workers:
        worker.wait_for("StoreRecovered", call="heartbeat")
    await asyncio.sleep(2 * LEASE_S)  # and the time after which who was robbed would have been
    busy.meetings[2].touch()
    await busy.assert_nobody_was_robbed()


async def test_a_table_that_somebody_locks_for_longer_than_a_lease_robs_nobody(lab: Lab) -> None:
    """Every call waits, heartbeats too; who was waiting goes on as if nothing had been."""
    lab.execute(SHORT_LEASES)
    busy = Busy(lab)
    await busy.begin()
    with psycopg.connect(lab.dsn) as editor:
        editor.execute("lock table public.meetings in access exclusive mode")
        await asyncio.sleep(3 * LEASE_S)
    await asyncio.sleep(2 * LEASE_S)
    for go in busy.meetings:
        go.touch()
    await busy.assert_nobody_was_robbed()


async def test_a_database_that_is_away_at_the_start_is_waited_for(
    mortal_lab: Lab, mortal_server: MortalPostgres
) -> None:
    meeting_id = await mortal_lab.enqueue()
    mortal_server.stop()
    worker = mortal_lab.worker("w1")
    for _ in range(2):
        worker.wait_for("StoreUnavailable", call="register", code="database_unreachable")
    mortal_server.start()
    worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id), patience_s=LONG_PATIENCE_S)
    await mortal_lab.assert_done_once(meeting_id)


@contextlib.contextmanager
def read_only(lab: Lab) -> Iterator[None]:
    """As a Supabase project whose disk is full: who connects may read."""
    name = lab.rows("select current_database()")[0][0]
    end_all = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
    lab.execute(f'alter database "{name}" set default_transaction_read_only = on')
    lab.execute(f"{end_all} and pid <> pg_backend_pid()")
    yield
    lab.execute(f'set transaction read write; alter database "{name}" reset default_transaction_read_only')
    lab.execute(f"{end_all} and pid <> pg_backend_pid()")


async def test_a_database_that_is_read_only_for_a_while_costs_nothing(lab: Lab) -> None:
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    with read_only(lab):
        worker.wait_for("StoreUnavailable", call="heartbeat", code="database_unreachable")
        go.touch()
        worker.wait_for("StoreUnavailable", call="complete", code="database_unreachable")
        assert await lab.status(meeting_id) is MeetingStatus.PROCESSING
    worker.wait_for("MeetingCompleted", outcome="completed")
    assert worker.is_running
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]
