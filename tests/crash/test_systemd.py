"""Real workers under a service manager: what they tell it, and what a frozen one does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.crash.conftest import Lab
from tests.support.children import wait_until
from tests.support.notify_socket import ServiceManager, service_manager
from tests.support.worker_process import WorkerProcess, environment_in, url_of
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash

WATCHDOG_S = 0.6


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with service_manager() as manager:
        yield manager


def started(lab: Lab, manager: ServiceManager, *, dsn: str | None = None, **variables: str) -> WorkerProcess:
    environment = environment_in(lab.folder, url_of(dsn or lab.dsn), f"service-{lab.folder.name}", **variables)
    watchdog = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))}
    return WorkerProcess("tests.support.scripted_worker", environment={**environment, **watchdog})


def state_of(pid: int) -> str:
    """proc_pid_stat(5): T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def environments_of_children(pid: int) -> list[str]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found.append(Path(f"/proc/{child}/environ").read_text())
    return [text for text in found if text]


async def test_a_meetings_life_as_systemd_hears_it(lab: Lab, manager: ServiceManager) -> None:
    """READY, the stage in words, the watchdog while a child works; at SIGTERM STOPPING, more time, and a clean end."""
    go = lab.folder / "go"
    with closing(started(lab, manager)) as worker:
        manager.wait_for("READY")
        meeting_id = await lab.enqueue(transcribe={"until": str(go)})
        manager.wait_for("STATUS", lambda text: text.startswith("Transcribing 50 %"))
        for _ in range(5):
            manager.wait_for("WATCHDOG")
        worker.signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        manager.wait_for("EXTEND_TIMEOUT_USEC")
        manager.wait_for("STATUS", lambda text: text.startswith("Draining: 1 meeting; transcribing"))
        manager.wait_for("WATCHDOG")
        go.touch()
        assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED


async def test_a_frozen_worker_feeds_no_watchdog(lab: Lab, manager: ServiceManager) -> None:
    with closing(started(lab, manager)) as worker:
        manager.wait_for("WATCHDOG")
        worker.signal(signal.SIGSTOP)
        assert wait_until(lambda: state_of(worker.pid) == "T")
        manager.arrived()
        assert manager.receive(2 * WATCHDOG_S) is None
        worker.signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG")


async def test_an_idle_worker_says_that_it_stops(lab: Lab, manager: ServiceManager) -> None:
    with closing(started(lab, manager)) as worker:
        manager.wait_for("READY")
        worker.signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert worker.wait() == 0, worker.errors


async def test_a_service_is_up_while_its_database_is_away(lab: Lab, manager: ServiceManager) -> None:
    """It waits and says for what; otherwise systemd would start it anew for as long as the database is away."""
    nowhere = lab.folder / "nowhere"
    nowhere.mkdir()
    with closing(started(lab, manager, dsn=f"host={nowhere} dbname=postgres user=postgres")) as worker:
        manager.wait_for("READY")
        status = next(told["STATUS"] for told in manager.seen if "READY" in told)
        assert status.startswith("The database cannot be reached.")
        manager.wait_for("WATCHDOG")
        worker.signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert worker.wait() == 0, worker.errors


async def test_the_children_know_nothing_of_systemd(lab: Lab, manager: ServiceManager) -> None:
    """A library in a child could otherwise tell systemd things in the worker's name."""
    await lab.enqueue(transcribe={"until": "/nonexistent"})
    with closing(started(lab, manager, SHUTDOWN_GRACE_SECONDS="0.1")) as worker:
        await asyncio.to_thread(worker.wait_for, "StageProgressed", stage="transcribe")
        environments = environments_of_children(worker.pid)
        assert len(environments) >= 2  # one that prepares, one engine
        assert not any("NOTIFY_SOCKET" in text or "WATCHDOG" in text for text in environments)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.errors
