"""A disk that is really full, wherever a worker writes: no attempt is spent, nothing is lost, it goes on by itself."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.crash.conftest import Lab
from tests.support.embedded_postgres import reachable_directory
from tests.support.small_disk import SmallDisk, small_disk
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash

ROOM_NEEDED = "2000000"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with reachable_directory() as folder, small_disk(folder / "small disk") as disk:
        yield disk


@pytest.mark.proves("disk full")
async def test_no_meeting_is_begun_without_room_and_the_worker_goes_on_by_itself(lab: Lab, disk: SmallDisk) -> None:
    disk.fill()
    worker = lab.worker("w1", AUDIO_TEMP_DIR=str(disk.path), MIN_FREE_DISK_BYTES=ROOM_NEEDED)
    worker.wait_for("WorkerStarted")
    meeting_id = await lab.enqueue()
    assert "AUDIO_TEMP_DIR" in str(worker.wait_for("TroubleBegan"))
    worker.wait_for("QueueSeen")  # the fleet has been told
    [told] = (await lab.store.status()).workers
    assert [trouble.code for trouble in told.troubles] == ["disk_full"]
    assert await lab.status(meeting_id) is MeetingStatus.PENDING
    disk.free()
    worker.wait_for("TroubleEnded", code="disk_full")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    assert files_on(disk) == []


@pytest.mark.slow
@pytest.mark.proves("disk full")
@pytest.mark.parametrize("stage", ["fetch", "decode", "transcribe", "align", "diarize", "summarize", "commit"])
async def test_a_disk_that_fills_up_in_a_stage_costs_no_attempt(lab: Lab, disk: SmallDisk, stage: str) -> None:
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=[f"--signal-at=SIGSTOP@StageStarted:{stage}"], AUDIO_TEMP_DIR=str(disk.path))
    worker.wait_until_stopped("StageStarted", stage=stage)
    disk.fill()
    worker.signal(signal.SIGCONT)
    assert worker.wait_for("MeetingFailed")["code"] == "disk_full"
    assert lab.rows("select num_attempts from pc_worker.jobs") == [(0,)]
    assert [name for name in files_on(disk) if name.endswith(".part")] == []
    disk.free()
    lab.execute("update pc_worker.jobs set run_at = now()")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert files_on(disk) == []


@pytest.mark.slow
async def test_a_disk_without_a_free_inode_is_full(lab: Lab, disk: SmallDisk) -> None:
    disk.fill_inodes()
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", AUDIO_TEMP_DIR=str(disk.path))
    assert worker.wait_for("MeetingFailed")["code"] == "disk_full"
    disk.free()
    lab.execute("update pc_worker.jobs set run_at = now()")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
async def test_a_full_disk_of_the_log_costs_lines_and_nothing_else(lab: Lab, disk: SmallDisk) -> None:
    worker = lab.worker("w1", LOG_DIR=str(disk.path))
    worker.wait_for("WorkerStarted")
    disk.fill()
    meeting_id = await lab.enqueue()
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.errors
    assert "No space left" in worker.errors


@pytest.fixture
def disk_of_the_results(lab: Lab, disk: SmallDisk) -> Iterator[SmallDisk]:
    """The transcripts of this lab's database are on the small disk."""
    [(data,)] = lab.rows("show data_directory")
    place = disk.path / "tablespace"
    place.mkdir()
    account = Path(data).stat()
    os.chown(place, account.st_uid, account.st_gid)
    name = f"small_{uuid4().hex}"
    with psycopg.connect(lab.dsn, autocommit=True) as connection:
        connection.execute(f"create tablespace {name} location '{place}'".encode())
        connection.execute(f"alter table public.transcript_segments set tablespace {name}".encode())
        yield disk
        connection.execute(b"drop table public.transcript_segments cascade")
        connection.execute(f"drop tablespace {name}".encode())


@pytest.mark.slow
async def test_a_full_disk_of_the_database_is_waited_for(lab: Lab, disk_of_the_results: SmallDisk) -> None:
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1", flags=["--signal-at=SIGSTOP@StageStarted:commit"])
    worker.wait_until_stopped("StageStarted", stage="commit")
    disk_of_the_results.fill()
    worker.signal(signal.SIGCONT)
    assert worker.wait_for("StoreUnavailable", call="complete")["code"] == "database_unreachable"
    disk_of_the_results.free()
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@pytest.mark.slow
async def test_a_disk_that_can_only_be_read_takes_no_meetings_until_it_is_mended(lab: Lab, disk: SmallDisk) -> None:
    lab.execute("update pc_worker.settings set heartbeat_s = 0.2")
    worker = lab.worker("w1", AUDIO_TEMP_DIR=str(disk.path))
    worker.wait_for("WorkerStarted")
    disk.make_read_only()
    worker.wait_for("TroubleBegan")
    meeting_id = await lab.enqueue()
    worker.wait_for("QueueSeen", num_pending=1)
    assert lab.attempts(meeting_id) == []
    disk.make_writable()
    worker.wait_for("TroubleEnded", code="disk_failed")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
async def test_a_folder_that_is_taken_away_costs_an_attempt_and_not_the_service(lab: Lab) -> None:
    """Somebody tidies up: the whole AUDIO_TEMP_DIR goes while a meeting is diarized."""
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(diarize={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="diarize")
    shutil.rmtree(lab.folder / "temp_audio")
    go.touch()
    worker.wait_for("MeetingFailed", outcome="retrying")
    lab.execute("update pc_worker.jobs set run_at = now()")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)


@pytest.mark.slow
async def test_recordings_on_a_disk_that_is_not_mounted_are_waited_for(lab: Lab) -> None:
    meeting_id = await lab.enqueue()
    recordings = lab.folder / "recordings"
    worker = lab.worker("w1", flags=["--signal-at=SIGSTOP@WorkerStarted"])
    worker.wait_until_stopped("WorkerStarted")
    recordings.rename(lab.folder / "unmounted")
    worker.signal(signal.SIGCONT)
    assert worker.wait_for("MeetingFailed")["code"] == "storage_unavailable"
    assert lab.rows("select num_attempts from pc_worker.jobs") == [(0,)]
    (lab.folder / "unmounted").rename(recordings)
    lab.execute("update pc_worker.jobs set run_at = now()")
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)


def files_on(disk: SmallDisk) -> list[str]:
    return sorted(str(path.relative_to(disk.path)) for path in disk.path.rglob("*"))
