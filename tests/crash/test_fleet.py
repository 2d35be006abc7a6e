"""Three PCs on one Supabase project: real audio through the real PostgREST, one PC killed, one drained midway."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.support import project_keys
from tests.support.audio_files import encode, speech, write_sound
from tests.support.fake_storage import FakeStorage
from tests.support.queue_worlds import fresh_database
from tests.support.shell import Shell
from tests.support.supabase_project import add_user
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker

pytestmark = pytest.mark.crash

NUM_MEETINGS = 60
PATIENCE_S = 90.0


class Fleet:
    """A project with its Storage, and PCs that hold nothing but its address, the public key and a worker token."""

    def __init__(self, stack: SupabaseStack, storage: FakeStorage, folder: Path) -> None:
        self.stack, self.storage, self.folder = stack, storage, folder
        self._workers = contextlib.ExitStack()

    def enqueue_as(self, owner: UUID | None, recording: Path) -> UUID:
        """Upload, then insert the row: as a signed-in user, or as the lab's administrator."""
        meeting_id = uuid4()
        audio_path = f"{owner or 'lab'}/{meeting_id}/audio{recording.suffix}"
        self.storage.put_object(audio_path, recording)
        bearer = project_keys.user_token(owner) if owner else self.stack.service_key
        key = project_keys.PUBLISHABLE_KEY if owner else self.stack.service_key
        row = {
            "id": str(meeting_id),
            "title": recording.name,
            "audio_path": audio_path,
            "user_id": owner and str(owner),
        }
        answer = httpx.post(
            f"{self.stack.url}/rest/v1/meetings", json=row, headers={"apikey": key, "Authorization": f"Bearer {bearer}"}
        )
        assert answer.status_code == 201, answer.text
        return meeting_id

    def worker(self, name: str) -> WorkerProcess:
        """A PC of its own: nothing is shared but the project."""
        pc = self.folder / name
        pc.mkdir()
        environment = self._environment(pc, f"{name}-{self.folder.name}")
        return self._workers.enter_context(scripted_worker(environment, "--real-audio"))

    def _environment(self, folder: Path, worker_id: str) -> dict[str, str]:
        environment = environment_in(folder, "", worker_id) | {
            "SUPABASE_URL": self.stack.url,
            "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
            "SUPABASE_WORKER_TOKEN": self.stack.worker_token,
        }
        del environment["DATABASE_URL"]
        return environment

    def command(self, *arguments: str) -> str:
        """Typed on a PC that holds what a worker holds, and nothing for administrators."""
        done = Shell(self.folder, self._environment(self.folder, "other"))(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    async def wait_until_nothing_is_left(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.rows("select 1 from public.meetings where status in ('pending', 'processing') limit 1"):
                await asyncio.sleep(0.1)

    def close(self) -> None:
        self._workers.close()


@pytest.fixture
def fleet(crash_server_dsn: str, tmp_path: Path) -> Iterator[Fleet]:
    with (
        fresh_database(crash_server_dsn, name=f"fleet_{uuid4().hex[:12]}") as dsn,
        FakeStorage() as storage,
        supabase_stack(dsn, storage_url=storage.url) as stack,
    ):
        with psycopg.connect(dsn, autocommit=True) as connection:
            # a killed PC's meetings come back within seconds instead of minutes
            connection.execute("update pc_worker.settings set lease_s = 4, heartbeat_s = 1, grace_s = 1")
        fleet = Fleet(stack, storage, tmp_path)
        try:
            yield fleet
        finally:
            fleet.close()


def recordings(folder: Path) -> list[Path]:
    """Each sounds different, so that its checksum tells which recording a result is of."""
    made = []
    for number in range(NUM_MEETINGS):
        samples = speech(1.0 + number % 3, seed=number)
        name = folder / f"recording {number}"
        made.append(
            encode(name.with_suffix((".mp3", ".m4a")[number % 2]), samples)
            if number % 3
            else write_sound(name.with_suffix(".wav"), samples)
        )
    return made


@pytest.mark.slow
async def test_sixty_meetings_complete_exactly_once_while_one_pc_is_killed_and_one_is_drained(fleet: Fleet) -> None:
    """Three processes of their own WORKER_ID with the restricted token; no meeting is lost or done twice."""
    alice, bob = add_user(fleet.stack.dsn), add_user(fleet.stack.dsn)
    (fleet.folder / "made").mkdir()
    made = recordings(fleet.folder / "made")
    owners = [(None, alice, bob)[number % 3] for number in range(NUM_MEETINGS)]
    sha256_of = {
        fleet.enqueue_as(owner, path): hashlib.sha256(path.read_bytes()).hexdigest()
        for owner, path in zip(owners, made, strict=True)
    }

    killed, drained, kept = (fleet.worker(name) for name in ("killed", "drained", "kept"))
    for _ in range(3):
        killed.wait_for("MeetingCompleted")
    killed.wait_for("StageStarted", stage="transcribe")
    killed.kill()
    drained.wait_for("StageStarted", stage="transcribe")
    drained_id = f"drained-{fleet.folder.name}"
    assert "takes no more meetings" in fleet.command("drain", drained_id)
    num_claimed = fleet.rows(f"select count(*) from pc_worker.job_attempts where worker_id = '{drained_id}'")
    await fleet.wait_until_nothing_is_left()

    found = fleet.rows("select id, status, result #>> '{audio,sha256}' from public.meetings")
    assert Counter(status for _, status, _ in found) == {"completed": NUM_MEETINGS}
    assert {meeting_id: sha256 for meeting_id, _, sha256 in found} == sha256_of
    outcomes = fleet.rows("select meeting_id, outcome from pc_worker.job_attempts")
    assert Counter(meeting_id for meeting_id, outcome in outcomes if outcome == "completed") == dict.fromkeys(
        sha256_of, 1
    )
    assert {outcome for _, outcome in outcomes} == {"completed", "reaped"}
    assert fleet.rows("select count(*), count(distinct meeting_id) from public.transcript_segments") == [(120, 60)]
    assert fleet.rows(f"select count(*) from pc_worker.job_attempts where worker_id = '{drained_id}'") == num_claimed
    assert drained.is_running
    for worker, name in ((drained, "drained"), (kept, "kept")):
        assert worker.is_running
        assert list((fleet.folder / name / "temp_audio").iterdir()) == []
