"""A meeting that is cancelled or deleted while its recording comes from a bucket that has fallen silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_faults import Stall
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import environment_in, scripted_worker

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.fixture
def storage() -> Iterator[FakeStorage]:
    with FakeStorage() as storage:
        yield storage


@pytest.fixture
def stack(crash_server_dsn: str, storage: FakeStorage) -> Iterator[SupabaseStack]:
    with (
        fresh_database(crash_server_dsn, name=f"download_{uuid4().hex[:12]}") as dsn,
        supabase_stack(dsn, storage_url=storage.url) as stack,
    ):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update pc_worker.settings set lease_s = 6, heartbeat_s = 0.2, grace_s = 1")
        yield stack


@pytest.mark.parametrize(
    ("edit", "told"),
    [("update public.meetings set status = 'cancelled'", "cancelled"), ("delete from public.meetings", "gone")],
)
def test_a_download_is_broken_off_and_its_part_removed(
    stack: SupabaseStack, storage: FakeStorage, tmp_path: Path, edit: str, told: str
) -> None:
    """Long before the download itself would give up; the next meeting goes through."""
    recording = tmp_path / "recording.json"
    recording.write_text("{}" + " " * 100_000)
    stall = Stall(after_bytes=50_000)
    storage.faults.next(stall)
    access = {
        "SUPABASE_URL": stack.url,
        "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
        "SUPABASE_WORKER_TOKEN": stack.worker_token,
    }
    environment = environment_in(tmp_path, "", f"w-{uuid4().hex[:8]}") | access
    del environment["DATABASE_URL"]
    with psycopg.connect(stack.dsn, autocommit=True) as admin, scripted_worker(environment) as worker:
        worker.wait_for("WorkerStarted")
        insert(admin, storage, recording)
        assert stall.started.wait(60)
        admin.execute(edit.encode())
        assert worker.wait_for("MeetingDropped")["outcome"] == told
        assert list((tmp_path / "temp_audio").iterdir()) == []
        following = insert(admin, storage, recording)
        worker.wait_for("MeetingCompleted", meeting_id=str(following))
        assert list((tmp_path / "temp_audio").iterdir()) == []


def insert(admin: psycopg.Connection, storage: FakeStorage, recording: Path) -> UUID:
    meeting_id = uuid4()
    audio_path = f"lab/{meeting_id}/audio.json"
    storage.put_object(audio_path, recording)
    admin.execute("insert into public.meetings (id, audio_path) values (%s, %s)", [meeting_id, audio_path])
    return meeting_id
