"""Finished results whose worker never came back: handed over by whoever works on the same PC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import worker_info
from tests.unit.conftest import RealClock, Workshop
from tests.unit.test_housekeeping import Away, at_work, claimed, housekeeping, left_folder
from worker import events
from worker.exceptions import SupabaseConnectionError, SupabaseQueryError
from worker.job_folder import lock_job_folder, open_job_folder
from worker.models import MeetingStatus, ProcessingResult, Registration, WorkerInfo, WriteAnswer
from worker.testing.store_memory import MemoryStore


async def finished(workshop: Workshop) -> Path:
    """The folder of a meeting whose holder died with its result on disk."""
    claim = await claimed(workshop)
    return left_folder(workshop, claim.meeting.id, token=claim.token)


async def status(workshop: Workshop, path: Path) -> MeetingStatus:
    return (await workshop.found(UUID(path.name))).meeting.status


async def test_a_result_is_handed_over_by_another_worker_of_the_pc(workshop: Workshop) -> None:
    """Its own, with that WORKER_ID, will perhaps never be started again."""
    async with at_work(workshop.worker(worker_id="w2", sweep_s=0.01)):
        path = await finished(workshop)
        await workshop.wait_for(events.ResultReplayed, outcome="completed")
    assert await status(workshop, path) is MeetingStatus.COMPLETED
    assert workshop.leftovers == []


async def test_a_result_is_never_too_old(workshop: Workshop) -> None:
    store = workshop.store = Away(RealClock())
    claim = await claimed(workshop)
    path = left_folder(workshop, claim.meeting.id, token=claim.token, age_days=1000.0)
    store.error = SupabaseConnectionError()
    house = housekeeping(workshop, missing_bytes=lambda: 1)
    await house.sweep()
    await house.make_room()
    assert (path / "result.json").exists()
    store.error = None
    await house.sweep()
    assert await status(workshop, path) is MeetingStatus.COMPLETED


async def test_a_result_that_is_refused_stays_and_is_told_once(workshop: Workshop) -> None:
    """Told each hour, it would look as if everything failed on this PC."""
    store = workshop.store = Away(RealClock())
    path = await finished(workshop)
    store.error = SupabaseQueryError()
    house = housekeeping(workshop)
    for _ in range(3):
        await house.sweep()
    told = [event.outcome for event in workshop.seen if isinstance(event, events.MeetingFailed)]
    assert (told, (path / "result.json").exists()) == (["kept"], True)


async def test_a_result_that_comes_too_late_leaves_what_the_next_holder_may_need(workshop: Workshop) -> None:
    """Another attempt has begun, perhaps on another PC; if that one fails, this PC goes on where it was."""
    path = await finished(workshop)
    await workshop.store.register(worker_info("w1"))  # anew: what it had is pending
    info = worker_info("w2", host="pc-2")
    await workshop.store.register(info)
    claim = (await workshop.store.claim(info.worker_id, info.instance_id, UUID(int=1))).claim
    assert claim is not None
    house = housekeeping(workshop)
    await house.sweep()
    assert [event.outcome for event in workshop.seen if isinstance(event, events.ResultReplayed)] == ["lost"]
    assert sorted(entry.name for entry in path.iterdir()) == ["lock", "source.part"]
    await workshop.store.complete(claim.meeting.id, claim.token, result("hello"))
    await house.sweep()
    assert workshop.leftovers == []


def test_who_takes_a_meeting_anew_forgets_the_result_of_before(workshop: Workshop) -> None:
    """Else, if it were killed as well, that result would be handed over first, and be too late."""
    path = left_folder(workshop, UUID(int=7), token=7)
    open_job_folder(path.parent, UUID(int=7), 8).close()
    assert sorted(entry.name for entry in path.iterdir()) == ["lock", "source.part"]


class Ordered(MemoryStore):
    """Knows what came first."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.calls: list[str] = []

    async def register(self, worker: WorkerInfo) -> Registration:
        self.calls.append("register")
        return await super().register(worker)

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        self.calls.append("complete")
        return await super().complete(meeting_id, token, result)


async def test_a_worker_that_starts_waits_for_the_neighbour_that_hands_over_its_result(workshop: Workshop) -> None:
    """After a power cut both start at once. Would it register and claim meanwhile, hours of work were lost."""
    store = workshop.store = Ordered()
    claim = await claimed(workshop)
    store.calls.clear()
    path = left_folder(workshop, claim.meeting.id, token=claim.token)
    neighbour = lock_job_folder(path)
    assert neighbour is not None
    starting = asyncio.create_task(workshop.worker().run(once=True))
    await asyncio.sleep(0.3)  # a call that takes its time: enough to look again twice, or to register and claim
    await store.complete(claim.meeting.id, claim.token, result("hello"))
    neighbour.remove()
    await starting
    assert store.calls[:2] == ["complete", "register"]
    assert [event for event in workshop.seen if isinstance(event, events.MeetingClaimed)] == []
    assert await status(workshop, path) is MeetingStatus.COMPLETED


async def test_a_neighbour_that_takes_for_ever_holds_up_no_start(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kept_results.HANDING_OVER_S", 0.0)
    folder = lock_job_folder(await finished(workshop))
    assert folder is not None
    async with at_work(workshop.worker()):
        await workshop.wait_for(events.WorkerStarted)
    folder.close()


class Crossed(MemoryStore):
    """While a result is on its way, somebody deletes its meeting."""

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        del self.queue.meetings[meeting_id], self.queue.jobs[meeting_id]
        return await super().complete(meeting_id, token, result)


async def test_the_result_of_a_deleted_meeting_is_removed(workshop: Workshop) -> None:
    workshop.store = Crossed(RealClock())
    await finished(workshop)
    await housekeeping(workshop).sweep()
    assert workshop.leftovers == []
