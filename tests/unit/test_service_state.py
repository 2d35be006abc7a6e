"""What systemd hears: real datagrams on a real socket; only time is the test's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from tests.support.notify_socket import ServiceManager, service_manager
from worker import events
from worker.models import Stage, Trouble
from worker.observe.sd_notify import MAX_BYTES, NotifySocket, datagram
from worker.observe.service_state import EXTEND_EVERY_S, ServiceState

STALL_S = 600.0
WATCHDOG_S = 120.0
STARTED = events.WorkerStarted("w", 0, 0)
AWAY = events.StoreUnavailable("register", "unreachable", 5.0, "Check the network of this PC.")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with service_manager() as manager:
        yield manager


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def state(manager: ServiceManager, now: Time) -> Iterator[ServiceState]:
    notifier = NotifySocket(manager.address)
    yield ServiceState(notifier, watchdog_s=WATCHDOG_S, stall_s=STALL_S, monotonic=now)
    notifier.close()


def claimed(state: ServiceState, stage: Stage = Stage.TRANSCRIBE) -> UUID:
    meeting_id = uuid4()
    state(events.MeetingClaimed(meeting_id, 1, 1))
    state(events.StageStarted(meeting_id, stage))
    return meeting_id


def is_fed(state: ServiceState, manager: ServiceManager) -> bool:
    state.tick()
    return {"WATCHDOG": "1"} in manager.arrived()


def test_ready_comes_when_the_worker_is_registered_and_only_once(state: ServiceState, manager: ServiceManager) -> None:
    state.tick()
    assert manager.arrived() == [{"STATUS": "Starting"}, {"WATCHDOG": "1"}]
    state(STARTED)
    state(STARTED)
    assert manager.arrived() == [{"READY": "1", "STATUS": "Idle"}]


def test_ready_comes_when_the_database_is_away_and_status_says_so(state: ServiceState, manager: ServiceManager) -> None:
    """Otherwise systemd would end and start the worker for as long as the database is away."""
    state(AWAY)
    (told,) = manager.arrived()
    assert told == {"READY": "1", "STATUS": "Check the network of this PC. [unreachable] Starting"}


def test_ready_comes_when_something_else_keeps_the_worker_waiting(state: ServiceState, manager: ServiceManager) -> None:
    state(events.TroubleBegan(Trouble(code="gpu_taken", sentence="Another worker has the GPU.")))
    assert manager.arrived() == [{"READY": "1", "STATUS": "Another worker has the GPU. Starting"}]


def test_handing_over_earlier_results_extends_the_start(state: ServiceState, manager: ServiceManager) -> None:
    state(events.ResultReplayed(uuid4(), "completed"))
    assert manager.arrived() == [{"EXTEND_TIMEOUT_USEC": "120000000"}]


def test_the_watchdog_is_fed_a_third_of_its_time_apart(state: ServiceState, manager: ServiceManager, now: Time) -> None:
    assert is_fed(state, manager)
    now.now += WATCHDOG_S / 3 - 1
    assert not is_fed(state, manager)
    now.now += 1
    assert is_fed(state, manager)


def test_an_idle_worker_is_well_for_ever(state: ServiceState, manager: ServiceManager, now: Time) -> None:
    state(STARTED)
    now.now += 30 * STALL_S
    assert is_fed(state, manager)


def test_a_meeting_after_a_long_idle_time_is_not_taken_for_stalled(
    state: ServiceState, manager: ServiceManager, now: Time
) -> None:
    now.now += 30 * STALL_S
    claimed(state)
    assert is_fed(state, manager)


def test_a_meeting_without_a_sign_of_life_stops_the_watchdog(
    state: ServiceState, manager: ServiceManager, now: Time
) -> None:
    """Heartbeats go on beside it and prove nothing."""
    claimed(state)
    now.now += STALL_S
    state(events.QueueSeen(3, 10.0))
    state(events.StoreUnavailable("heartbeat", "unreachable", 5.0))
    assert not is_fed(state, manager)


@pytest.mark.parametrize("movement", ["progress", "stage", "another try to hand over", "end"])
def test_a_meeting_that_moves_feeds_the_watchdog(
    state: ServiceState, manager: ServiceManager, now: Time, movement: str
) -> None:
    meeting_id = claimed(state)
    now.now += STALL_S
    moved: dict[str, events.Event] = {
        "progress": events.StageProgressed(meeting_id, Stage.TRANSCRIBE, 0.5),
        "stage": events.StageStarted(meeting_id, Stage.ALIGN),
        "another try to hand over": events.StoreUnavailable("complete", "unreachable", 60.0),
        "end": events.MeetingDropped(meeting_id, "cancelled"),
    }
    state(moved[movement])
    assert is_fed(state, manager)


@pytest.mark.parametrize("event", [events.DrainStarted(2, 60.0), events.WorkerStopped("w", 0)])
def test_stopping_is_told_once_and_time_is_asked_for_again_and_again(
    state: ServiceState, manager: ServiceManager, now: Time, event: events.Event
) -> None:
    state(STARTED)
    manager.arrived()
    state(event)
    assert [list(told) for told in manager.arrived()] == [["STOPPING"], ["EXTEND_TIMEOUT_USEC"]]
    for _ in range(3):
        state.tick()
        manager.arrived()
        now.now += EXTEND_EVERY_S
        state.tick()
        assert [told for told in manager.arrived() if told.keys() != {"WATCHDOG"}] == [
            {"EXTEND_TIMEOUT_USEC": "120000000"}
        ]


def test_status_is_told_only_when_it_has_changed(state: ServiceState, manager: ServiceManager) -> None:
    """However many reports come between two looks, there is one datagram."""
    meeting_id = claimed(state)
    for step in range(1000):
        state(events.StageProgressed(meeting_id, Stage.TRANSCRIBE, step / 1000))
    state.tick()
    state.tick()
    assert [told for told in manager.arrived() if "STATUS" in told] == [{"STATUS": "Transcribing 100 %"}]


async def test_a_loop_that_is_blocked_feeds_no_watchdog(manager: ServiceManager) -> None:
    notifier = NotifySocket(manager.address)
    state = ServiceState(notifier, watchdog_s=0.06, stall_s=STALL_S)
    running = asyncio.create_task(state.run())
    while not any("WATCHDOG" in told for told in manager.arrived()):
        await asyncio.sleep(0.001)
    manager.arrived()
    time.sleep(0.3)  # the loop is blocked, which is what this is about
    assert manager.arrived() == []
    while not any("WATCHDOG" in told for told in manager.arrived()):
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait([running])
    notifier.close()


def test_ready_is_told_again_when_nobody_took_it(manager: ServiceManager, now: Time) -> None:
    address = manager.address + "-later"
    notifier = NotifySocket(address)
    state = ServiceState(notifier, watchdog_s=None, stall_s=STALL_S, monotonic=now)
    state(STARTED)
    later = ServiceManager(address)
    state.tick()
    state.tick()
    assert later.arrived() == [{"READY": "1", "STATUS": "Idle"}]
    later.close()
    notifier.close()


def test_an_address_in_the_abstract_namespace_is_understood() -> None:
    manager = ServiceManager(f"@pc-worker-test-{uuid4()}")
    notifier = NotifySocket(manager.address)
    assert notifier.send(READY=1)
    assert manager.arrived() == [{"READY": "1"}]
    notifier.close()
    manager.close()


def test_a_sentence_of_two_lines_cannot_say_anything_else_to_systemd() -> None:
    assert datagram({"STATUS": "one\nMAINPID=1\r\n  two"}) == b"STATUS=one MAINPID=1 two"
    assert len(datagram({"STATUS": "x" * 2 * MAX_BYTES})) == MAX_BYTES
