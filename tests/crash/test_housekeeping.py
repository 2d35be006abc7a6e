"""Several workers of one PC share a folder for working files: none touches what another one needs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests.crash.conftest import Lab
from tests.support.embedded_postgres import reachable_directory
from tests.support.small_disk import small_disk
from tests.support.worker_process import PATIENCE_S, WorkerProcess
from worker.job_folder import open_job_folder

pytestmark = pytest.mark.crash

OFTEN = "--sweep-every=0.2"


def set_complete_aside(lab: Lab) -> None:
    """As long as it is away, workers keep their results."""
    lab.execute(f"alter function {signature_of(lab, 'worker_complete_v2')} rename to worker_complete_away")


def put_complete_back(lab: Lab) -> None:
    lab.execute(f"alter function {signature_of(lab, 'worker_complete_away')} rename to worker_complete_v2")


def signature_of(lab: Lab, function: str) -> str:
    ((signature,),) = lab.rows(f"select oid::regprocedure::text from pg_proc where proname = '{function}'")
    return str(signature)


async def look_of(worker: WorkerProcess, temp: Path) -> None:
    """The worker has looked at every folder at least once since this was called; it tells only what it removes."""
    num_seen = len(worker.seen)
    async with asyncio.timeout(PATIENCE_S):
        while not any(told["event"] == "FoldersSwept" for told in worker.seen[num_seen:]):
            bait = open_job_folder(temp, uuid4(), 1)  # of a meeting that there is not
            bait.close()
            while bait.path.exists():
                await asyncio.sleep(0.01)


@pytest.mark.proves("killed after compute, before commit")
async def test_the_result_of_a_dead_worker_is_handed_over_by_another_one_of_its_pc(lab: Lab) -> None:
    """The dead one is never started again."""
    meeting_id = await lab.enqueue()
    set_complete_aside(lab)
    dead = lab.worker("w1")
    dead.wait_for("StoreUnavailable", call="complete")
    dead.kill()
    put_complete_back(lab)
    neighbour = lab.worker("w2", flags=[OFTEN])
    assert neighbour.wait_for("ResultReplayed")["outcome"] == "completed"
    await lab.assert_done_once(meeting_id)
    assert [event for event in neighbour.seen if event["event"] == "StageStarted"] == []


@pytest.mark.slow
@pytest.mark.proves("cancelled or deleted by a user")
async def test_the_folder_of_a_deleted_meeting_goes_though_its_worker_never_came_back(lab: Lab) -> None:
    """Recording and transcript are on a PC whose worker was killed; its neighbour removes them."""
    meeting_id = await lab.enqueue(diarize={"hang": True})
    dead = lab.worker("w1")
    dead.wait_for("StageStarted", stage="diarize")
    dead.kill()
    neighbour = lab.worker("w2", flags=[OFTEN])
    neighbour.wait_for("WorkerStarted")
    assert lab.leftovers == [str(meeting_id)]
    lab.execute(f"delete from public.meetings where id = '{meeting_id}'")
    assert neighbour.wait_for("FoldersSwept")["reason"] == "gone"
    assert lab.leftovers == []


async def test_the_folders_of_live_jobs_of_other_workers_are_left_alone(lab: Lab) -> None:
    """However old they look, whatever became of their meetings, and with models among them."""
    go, temp = lab.folder / "go", lab.folder / "temp_audio"
    model = temp / "models" / "hub" / "model.bin"
    model.parent.mkdir(parents=True)
    model.write_text("weights")
    meetings = [await lab.enqueue(transcribe={"until": str(go)}) for _ in range(2)]
    models = str(temp / "models")
    workers = [
        lab.worker(name, flags=[OFTEN], MAX_CONCURRENT_JOBS="1", MODEL_CACHE_DIR=models) for name in ("w1", "w2")
    ]
    for worker in workers:
        worker.wait_for("StageStarted", stage="transcribe")
    for folder in temp.iterdir():
        os.utime(folder, (0, 0))
    for worker in workers:
        await look_of(worker, temp)
    assert lab.leftovers == sorted([*map(str, meetings), "models"])
    go.touch()
    for worker in workers:
        worker.wait_for("MeetingCompleted")
        await look_of(worker, temp)
    assert lab.rows("select outcome, count(*) from pc_worker.job_attempts group by 1") == [("completed", 2)]
    assert lab.leftovers == ["models"]
    assert model.read_text() == "weights"
    lab.assert_sound()


@pytest.mark.slow
async def test_workers_that_start_together_after_a_power_cut_hand_over_every_result(lab: Lab) -> None:
    """Each of the three may find the others' results first; nothing is worked again."""
    meetings = [await lab.enqueue() for _ in range(3)]
    set_complete_aside(lab)
    names = ("w1", "w2", "w3")
    for worker in [lab.worker(name, MAX_CONCURRENT_JOBS="1") for name in names]:
        worker.wait_for("StoreUnavailable", call="complete")
        worker.kill()
    put_complete_back(lab)
    again = [lab.worker(name, once=True) for name in names]
    assert [worker.wait() for worker in again] == [0, 0, 0], "".join(worker.errors for worker in again)
    assert [event for worker in again for event in worker.seen if event["event"] == "MeetingClaimed"] == []
    for meeting_id in meetings:
        await lab.assert_done_once(meeting_id)


@pytest.mark.slow
@pytest.mark.proves("disk full")
async def test_a_disk_that_is_full_of_what_is_kept_makes_room_by_itself(lab: Lab) -> None:
    """On a file system of 16 MB, of which 8 must be free; 10 are taken by a meeting whose next attempt is tomorrow."""
    later, meeting_id = await lab.enqueue(), await lab.enqueue()
    lab.execute(f"update pc_worker.jobs set run_at = now() + interval '1 day' where meeting_id = '{later}'")
    with reachable_directory() as base, small_disk(base / "small disk", num_bytes=16_000_000) as disk:
        folder = open_job_folder(disk.path, later, 1)
        (folder.path / "source.part").write_bytes(bytes(10_000_000))
        folder.close()
        worker = lab.worker("w1", AUDIO_TEMP_DIR=str(disk.path), MIN_FREE_DISK_BYTES="8000000")
        assert worker.wait_for("TroubleBegan")["trouble"].startswith("code='disk_full'")
        swept = worker.wait_for("FoldersSwept")
        assert (swept["reason"], swept["num_folders"], swept["size_bytes"]) == ("disk_full", 1, 10_000_000)
        worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))
        worker.close()
        assert list(disk.path.iterdir()) == []
