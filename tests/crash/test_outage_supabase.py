"""A Supabase project that is away for all PCs at once: its gateway, its API, or the database behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.crash.conftest import Lab
from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.mortal_postgres import MortalPostgres
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(300)]

LEASE_S = 4.0
LONG_PATIENCE_S = 150.0


class Project:
    """A project on a server that may die, and PCs that hold nothing but its address, the public key and a token."""

    def __init__(self, stack: SupabaseStack, storage: FakeStorage, folder: Path) -> None:
        self.stack, self.storage, self.folder = stack, storage, folder
        self.lab = Lab(stack.dsn, folder)
        self._workers = contextlib.ExitStack()

    def enqueue(self, **scripts: object) -> UUID:
        meeting_id = uuid4()
        recording = self.folder / f"{meeting_id}.json"
        recording.write_text(json.dumps(scripts))
        self.storage.put_object(f"lab/{meeting_id}/audio.json", recording)
        with psycopg.connect(self.stack.dsn) as connection:
            insert = "insert into public.meetings (id, audio_path) values (%s, %s)"
            connection.execute(insert, [meeting_id, f"lab/{meeting_id}/audio.json"])
        return meeting_id

    def pc(self, name: str) -> WorkerProcess:
        folder = self.folder / name
        folder.mkdir()
        environment = environment_in(folder, "", f"{name}-{self.folder.name}", MAX_CONCURRENT_JOBS="1") | {
            "SUPABASE_URL": self.stack.url,
            "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
            "SUPABASE_WORKER_TOKEN": self.stack.worker_token,
        }
        del environment["DATABASE_URL"]
        return self._workers.enter_context(scripted_worker(environment))

    async def close(self) -> None:
        await asyncio.to_thread(self._workers.close)
        await self.lab.close()


@pytest.fixture
def project(mortal_server: MortalPostgres, tmp_path: Path) -> Iterator[Project]:
    mortal_server.start()
    with FakeStorage() as storage, supabase_stack(mortal_server.new_database(), storage_url=storage.url) as stack:
        project = Project(stack, storage, tmp_path)
        project.lab.execute(f"update pc_worker.settings set lease_s = {LEASE_S}, heartbeat_s = 1, grace_s = 1")
        try:
            yield project
        finally:
            asyncio.run(project.close())
            mortal_server.start()


@pytest.mark.proves("longer, nobody re-claimed")
async def test_a_gateway_that_is_cut_for_all_pcs_for_longer_than_a_lease_robs_nobody(project: Project) -> None:
    """One meeting is finished meanwhile, the others long after; an idle PC would take any of them."""
    gates = [project.folder / f"go-{number}" for number in range(3)]
    meetings, busy = [], []
    for number, gate in enumerate(gates):
        meetings.append(project.enqueue(transcribe={"until": str(gate)}))
        busy.append(project.pc(f"busy{number}"))
        busy[-1].wait_for("StageStarted", stage="transcribe", meeting_id=str(meetings[-1]))
    idle = project.pc("idle")
    idle.wait_for("WorkerStarted")

    project.stack.gateway.cut()
    gates[0].touch()
    for worker in busy:
        worker.wait_for("StoreUnavailable", call="heartbeat")
    await asyncio.sleep(3 * LEASE_S)  # time itself is what is tested
    project.stack.gateway.mend()
    for worker in busy:
        worker.wait_for("StoreRecovered", call="heartbeat")
    await asyncio.sleep(2 * LEASE_S)
    for gate in gates:
        gate.touch()

    for meeting_id, worker in zip(meetings, busy, strict=True):
        worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id), patience_s=LONG_PATIENCE_S)
        await project.lab.assert_done_once(meeting_id)
        assert [outcome for _, outcome in project.lab.attempts(meeting_id)] == ["completed"]
    assert "MeetingClaimed" not in [event["event"] for event in idle.seen]
    assert all(worker.is_running for worker in [*busy, idle])


@pytest.mark.parametrize("what", ["API", "database", "both"])
async def test_a_project_of_which_a_part_restarts_costs_nothing(
    project: Project, mortal_server: MortalPostgres, what: str
) -> None:
    """While the worker computes, and while it brings its result. An API that is not ready yet ends nothing."""
    postgrest = project.stack.postgrest

    def kill() -> None:
        if what != "API":
            mortal_server.kill()
        if what != "database":
            postgrest.kill()

    def restart() -> None:
        mortal_server.start()
        if what != "database":
            postgrest.start()

    gates = {stage: project.folder / stage for stage in ("transcribe", "summarize")}
    meeting_id = project.enqueue(**{stage: {"until": str(gate)} for stage, gate in gates.items()})
    worker = project.pc("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    kill()
    worker.wait_for("StoreUnavailable", call="heartbeat")
    restart()
    worker.wait_for("StoreRecovered", call="heartbeat")
    gates["transcribe"].touch()
    worker.wait_for("StageStarted", stage="summarize")
    kill()
    gates["summarize"].touch()
    worker.wait_for("StoreUnavailable", call="complete")
    restart()
    worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id), patience_s=LONG_PATIENCE_S)
    await project.lab.assert_done_once(meeting_id)
    assert project.lab.attempts(meeting_id) == [("w1", "completed")]
    again = project.enqueue()
    worker.wait_for("MeetingCompleted", meeting_id=str(again))
