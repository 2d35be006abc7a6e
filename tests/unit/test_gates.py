"""A closed gate keeps a worker from claiming, and from nothing else."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.conftest import Workshop
from worker import events
from worker.daemon import PCWorker
from worker.exceptions import DiskFullError
from worker.gates import Gates
from worker.models import MeetingStatus, Trouble
from worker.testing.memory_tables import QueueLimits
from worker.troubles import Troubles

FULL = Trouble(code="disk_full", sentence="The disk is full. Make room.")
TAKEN = Trouble(code="gpu_taken", sentence="The GPU is in use. Stop the other worker.")


class Door:
    """A Gate that a test opens and closes."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self.closed_by = trouble

    def trouble(self) -> Trouble | None:
        return self.closed_by


class Told:
    def __init__(self) -> None:
        self.events: list[object] = []

    def __call__(self, event: object) -> None:
        self.events.append(event)


# --- the gates alone ---------------------------------------------------------------------------------------------


def test_a_gate_that_closes_and_opens_is_told_once_each() -> None:
    told, door = Told(), Door(FULL)
    gates = Gates([door], Troubles(told))
    assert [gates.trouble(), gates.trouble()] == [FULL, FULL]
    door.closed_by = None
    assert [gates.trouble(), gates.trouble()] == [None, None]
    assert told.events == [events.TroubleBegan(FULL), events.TroubleEnded("disk_full")]


def test_the_first_closed_gate_speaks_and_hands_over_to_the_next() -> None:
    told, first, second = Told(), Door(FULL), Door(TAKEN)
    troubles = Troubles(told)
    gates = Gates([first, second], troubles)
    assert gates.trouble() == FULL
    first.closed_by = None
    assert gates.trouble() == TAKEN
    assert troubles.current() == (TAKEN,)


def test_a_trouble_that_its_gate_has_told_itself_is_left_to_it() -> None:
    """A breaker lets one meeting through for a trial, and its trouble goes on meanwhile."""
    door = Door(FULL)
    troubles = Troubles(Told())
    troubles.begin(FULL)
    gates = Gates([door], troubles)
    gates.trouble()
    door.closed_by = None
    assert gates.trouble() is None
    assert troubles.current() == (FULL,)


def test_a_sentence_that_changes_is_kept_up_to_date() -> None:
    door = Door(FULL)
    troubles = Troubles(Told())
    gates = Gates([door], troubles)
    gates.trouble()
    door.closed_by = fuller = Trouble(code="disk_full", sentence="It is fuller still.")
    gates.trouble()
    assert troubles.current() == (fuller,)


# --- the worker in front of one ----------------------------------------------------------------------------------


async def stopped(worker: PCWorker, running: asyncio.Task[int]) -> int:
    worker.request_stop()
    return await running


async def test_a_closed_gate_stops_claims_until_it_opens(workshop: Workshop) -> None:
    """Nothing is lost meanwhile: the meeting stays pending, and starts when the gate is open."""
    door = Door(FULL)
    meeting_id = await workshop.enqueue()
    worker = workshop.worker(gates=[door])
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.TroubleBegan, trouble=FULL)
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.PENDING
    door.closed_by = None
    await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)
    assert await stopped(worker, running) == 1
    assert events.TroubleEnded("disk_full") in workshop.seen


async def test_the_fleet_hears_of_a_closed_gate_and_the_worker_stays_alive(workshop: Workshop) -> None:
    """At once, and not with the next heartbeat in half a minute; which go on."""
    door = Door()
    worker = workshop.worker(gates=[door])
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.QueueSeen)
    door.closed_by = FULL
    async with asyncio.timeout(20):
        while not (known := (await workshop.store.status()).workers) or known[0].troubles != (FULL,):
            await asyncio.sleep(0.01)
    assert known[0].alive
    await stopped(worker, running)


async def test_a_gate_that_closes_lets_a_running_meeting_finish(workshop: Workshop) -> None:
    door = Door()
    meeting_id = await workshop.enqueue(transcribe={"seconds": 0.5})
    worker = workshop.worker(gates=[door])
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingClaimed, meeting_id=meeting_id)
    door.closed_by = FULL
    waiting_id = await workshop.enqueue()
    await workshop.wait_for(events.TroubleBegan, trouble=FULL)
    await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)
    assert await stopped(worker, running) == 1
    assert (await workshop.found(waiting_id)).meeting.status is MeetingStatus.PENDING


async def test_once_says_why_instead_of_waiting_for_ever(workshop: Workshop) -> None:
    """Whoever called us once wants to know."""
    await workshop.enqueue()
    with pytest.raises(DiskFullError, match="Make room"):
        await workshop.worker(gates=[Door(FULL)]).run(once=True)


async def test_a_stop_is_heard_at_a_closed_gate(workshop: Workshop) -> None:
    worker = workshop.worker(gates=[Door(FULL)], polling_s=3600.0)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.TroubleBegan)
    async with asyncio.timeout(20):
        assert await stopped(worker, running) == 0


# --- told to take no more ----------------------------------------------------------------------------------------


async def test_a_drained_worker_says_so_and_goes_on_when_it_may(workshop: Workshop) -> None:
    """Somebody may have forgotten it: the sentence names the command."""
    workshop.store.queue.limits = QueueLimits(heartbeat_s=0.05)
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.WorkerStarted)
    await workshop.store.drain("w1", draining=True)
    began = await workshop.wait_for(events.TroubleBegan)
    assert isinstance(began, events.TroubleBegan)
    assert (began.trouble.code, "worker resume w1" in began.trouble.sentence) == ("drained", True)
    meeting_id = await workshop.enqueue()
    await workshop.store.drain("w1", draining=False)
    await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)
    await stopped(worker, running)
    assert events.TroubleEnded("drained") in workshop.seen


async def test_each_heartbeat_tells_how_long_the_queue_is(workshop: Workshop) -> None:
    await workshop.enqueue()
    worker = workshop.worker(gates=[Door(FULL)])
    running = asyncio.create_task(worker.run())
    seen = await workshop.wait_for(events.QueueSeen)
    assert isinstance(seen, events.QueueSeen)
    assert seen.num_pending == 1
    assert seen.oldest_pending_s is not None
    await stopped(worker, running)
