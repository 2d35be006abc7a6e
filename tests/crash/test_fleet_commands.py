"""Two workers and one GPU, and a worker that is taken out of service from another PC: real processes, really killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.crash.conftest import Lab
from tests.support.queue_values import worker_info
from tests.support.shell import Shell
from tests.support.worker_process import WorkerProcess, environment_in, url_of
from worker.models import MeetingStatus, WorkerInfo, WorkerState

pytestmark = pytest.mark.crash


class OtherPc:
    """A PC that runs no worker: somebody sits at it and types commands."""

    def __init__(self, lab: Lab) -> None:
        folder = lab.folder / "other-pc"
        folder.mkdir()
        self.run = Shell(folder, environment_in(folder, url_of(lab.dsn), "other"))

    async def __call__(self, *arguments: str) -> str:
        """What the command printed, stdout and stderr."""
        done = await asyncio.to_thread(self.run, *arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)


async def seen_in_table(lab: Lab, worker_id: str, *, has_trouble: str) -> WorkerState:
    """Once the worker's heartbeat has told the fleet."""
    async with asyncio.timeout(30):
        while True:
            for worker in (await lab.store.status()).workers:
                if worker.worker_id == worker_id and has_trouble in {trouble.code for trouble in worker.troubles}:
                    return worker
            await asyncio.sleep(0.05)


def full_id(lab: Lab, name: str) -> str:
    return f"{name}-{lab.folder.name}"


def gpu_flag(lab: Lab) -> str:
    """A GPU of this test alone."""
    return f"--gpu=GPU-{lab.folder.name}"


# --- one GPU -----------------------------------------------------------------------------------------------------


async def test_of_two_workers_on_one_gpu_the_second_says_why_it_waits(lab: Lab) -> None:
    """It stays up, claims nothing, shows in the fleet why and for whom, and takes over when the first is killed."""
    first = lab.worker("first", flags=[gpu_flag(lab)])
    await asyncio.to_thread(first.wait_for, "WorkerStarted")
    running = await lab.enqueue(transcribe={"seconds": 600})
    await asyncio.to_thread(first.wait_for, "MeetingClaimed", meeting_id=str(running))

    second = lab.worker("second", flags=[gpu_flag(lab)])
    told = await asyncio.to_thread(second.wait_for, "TroubleBegan")
    waiting = await lab.enqueue("short")
    seen = await seen_in_table(lab, full_id(lab, "second"), has_trouble="gpu_taken")
    assert seen.alive
    assert f"in use by the worker {full_id(lab, 'first')} on the same PC" in seen.troubles[0].sentence
    assert (seen.gpu, seen.driver) == ("NVIDIA Fake", "570.1")
    assert "gpu_taken" in told["trouble"]
    assert second.is_running
    assert await lab.status(waiting) is MeetingStatus.PENDING

    first.kill()
    await asyncio.to_thread(second.wait_for, "TroubleEnded", code="gpu_taken")
    await asyncio.to_thread(second.wait_for, "MeetingCompleted", meeting_id=str(waiting))
    assert {event["event"] for event in first.seen}.isdisjoint({"TroubleBegan"})


async def test_two_workers_on_two_gpus_do_not_wait(lab: Lab) -> None:
    workers: list[WorkerProcess] = []
    for number in range(2):
        worker = lab.worker(f"w{number}", flags=[f"{gpu_flag(lab)}-{number}"])
        await asyncio.to_thread(worker.wait_for, "WorkerStarted")
        workers.append(worker)
        meeting_id = await lab.enqueue(transcribe={"seconds": 600})
        await asyncio.to_thread(worker.wait_for, "MeetingClaimed", meeting_id=str(meeting_id))


async def test_with_once_a_taken_gpu_is_an_error_with_its_sentence(lab: Lab) -> None:
    """Nobody waits for ever behind a command that was to end."""
    first = lab.worker("first", flags=[gpu_flag(lab)])
    meeting_id = await lab.enqueue(transcribe={"seconds": 600})
    await asyncio.to_thread(first.wait_for, "MeetingClaimed", meeting_id=str(meeting_id))
    second = lab.worker("second", once=True, flags=[gpu_flag(lab)])
    assert await asyncio.to_thread(second.wait) == 1
    assert "GpuTakenError" in second.errors
    assert "CUDA_DEVICE" in second.errors


# --- one WORKER_ID -----------------------------------------------------------------------------------------------


async def test_a_worker_id_that_lives_on_another_pc_is_not_taken_from_it(lab: Lab) -> None:
    """The second says so, claims nothing and waits for a lease, in case the first was switched off for good."""
    far = worker_info(full_id(lab, "w"), host="pc-far")
    await lab.store.register(far)
    meeting_id = await lab.enqueue()
    worker = lab.worker("w")
    told = await asyncio.to_thread(worker.wait_for, "StoreUnavailable", code="worker_id_taken")
    assert f"WORKER_ID {far.worker_id} is in use on the PC pc-far" in told["message"]
    assert (await lab.store.heartbeat(far.worker_id, far.instance_id, [])).registered
    worker.signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0
    assert lab.attempts(meeting_id) == []


@contextlib.asynccontextmanager
async def living(lab: Lab, worker: WorkerInfo) -> AsyncIterator[None]:
    """It is seen several times in a lease, as a worker is."""

    async def beat() -> None:
        while True:
            await lab.store.heartbeat(worker.worker_id, worker.instance_id, [])
            await asyncio.sleep(0.1)

    beating = asyncio.create_task(beat())
    yield
    beating.cancel()
    await asyncio.wait([beating])


@pytest.mark.slow
@pytest.mark.proves("same WORKER_ID twice")
async def test_a_worker_whose_id_stays_taken_for_a_lease_ends_with_78(lab: Lab) -> None:
    """And a service manager does not start it again; the other one has not noticed anything."""
    lab.execute("update pc_worker.settings set lease_s = 3, heartbeat_s = 0.5")
    far = worker_info("w-far", host="pc-far")
    await lab.store.register(far)
    async with living(lab, far):
        pc = Shell(lab.folder, environment_in(lab.folder, url_of(lab.dsn), far.worker_id))
        done = await asyncio.to_thread(pc, "run")
    assert done.returncode == 78, done.stderr
    assert "w-far is in use on the PC pc-far" in " ".join(done.stderr.split())
    assert (await lab.store.heartbeat(far.worker_id, far.instance_id, [])).registered


@pytest.mark.slow
async def test_a_worker_id_is_taken_over_from_a_pc_that_was_switched_off(lab: Lab) -> None:
    """The PC was replaced: its meeting comes back when its lease is over."""
    lab.execute("update pc_worker.settings set lease_s = 3, heartbeat_s = 0.5, grace_s = 1")
    far = worker_info(full_id(lab, "w"), host="pc-far")
    meeting_id = await lab.enqueue()
    await lab.store.register(far)
    assert (await lab.store.claim(far.worker_id, far.instance_id, uuid4())).claim is not None
    worker = lab.worker("w")
    await asyncio.to_thread(worker.wait_for, "StoreUnavailable", code="worker_id_taken")
    await asyncio.to_thread(worker.wait_for, "WorkerStarted")
    await asyncio.to_thread(worker.wait_for, "MeetingCompleted", meeting_id=str(meeting_id))
    assert [outcome for _, outcome in lab.attempts(meeting_id)] == ["reaped", "completed"]


# --- out of service ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_worker_drained_from_another_pc_finishes_its_meeting_and_takes_no_other(lab: Lab) -> None:
    """`status` says so on any PC, and `resume` ends it."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    pc, worker = OtherPc(lab), lab.worker("w")
    worker_id = full_id(lab, "w")
    running = await lab.enqueue("running", transcribe={"seconds": 6})
    await asyncio.to_thread(worker.wait_for, "StageStarted", stage="transcribe")

    assert "It finishes the 1 it has" in await pc("drain", worker_id)
    waiting = await lab.enqueue("waiting")
    (state,) = (await lab.store.status()).workers
    assert (state.draining, [work.title for work in state.meetings]) == (True, ["running"])

    await asyncio.to_thread(worker.wait_for, "MeetingCompleted", meeting_id=str(running))
    seen = await seen_in_table(lab, worker_id, has_trouble="drained")
    assert (seen.draining, seen.meetings, worker.is_running) == (True, (), True)
    shown = json.loads(await pc("status", "--json"))["workers"][0]
    assert (shown["draining"], shown["troubles"][0]["code"]) == (True, "drained")
    assert f"worker resume {worker_id}" in " ".join((await pc("status")).split())
    assert await lab.status(waiting) is MeetingStatus.PENDING
    assert lab.attempts(waiting) == []

    assert "takes meetings again" in await pc("resume", worker_id)
    await asyncio.to_thread(worker.wait_for, "MeetingCompleted", meeting_id=str(waiting))


async def test_a_worker_that_is_switched_off_can_be_drained(lab: Lab) -> None:
    """It takes nothing when it is switched on again, and says so."""
    pc, worker_id = OtherPc(lab), full_id(lab, "w")
    before = lab.worker("w")
    await asyncio.to_thread(before.wait_for, "WorkerStarted")
    before.kill()
    await pc("drain", worker_id)
    meeting_id = await lab.enqueue()
    again = lab.worker("w")
    await asyncio.to_thread(again.wait_for, "TroubleBegan")
    assert await lab.status(meeting_id) is MeetingStatus.PENDING


async def test_a_worker_that_does_not_exist_is_refused_with_the_names_of_those_that_do(lab: Lab) -> None:
    """A slip of the pen must not look like success."""
    pc = OtherPc(lab)
    worker = lab.worker("w")
    await asyncio.to_thread(worker.wait_for, "WorkerStarted")
    for command in ("drain", "resume"):
        done = await asyncio.to_thread(pc.run, command, "lab-pc-9")
        assert done.returncode == 1
        assert "lab-pc-9 has ever registered" in " ".join(done.stderr.split())
        assert full_id(lab, "w") in " ".join(done.stderr.split())
