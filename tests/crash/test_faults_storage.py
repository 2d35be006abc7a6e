"""A real worker and a Storage that has its bad days: each recording arrives inside the first attempt."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import fake_storage_faults as storage_faults
from tests.support import fault_proxy_faults as line_faults
from tests.support.spoiled_line import ProjectLab, line_lab

pytestmark = [pytest.mark.crash, pytest.mark.slow]

BY_STORAGE: list[tuple[str, storage_faults.Fault]] = [
    ("sign", storage_faults.html_502()),
    ("sign", storage_faults.in_400_timeout()),
    ("sign", storage_faults.LostAnswer()),
    ("info", storage_faults.in_400_unavailable()),
    ("info", storage_faults.too_many_connections()),
    ("download", storage_faults.Cut(after_bytes=1000)),
    ("download", storage_faults.internal_error()),
    ("download", storage_faults.expired_signature()),
]
SIGN, INFO, DOWNLOAD = r"^POST \S+/object/sign/", r"^GET \S+/object/info/", r"^GET \S+/object/sign/"
ON_THE_LINE: list[tuple[str, line_faults.Fault]] = [
    (SIGN, line_faults.Reset()),
    (INFO, line_faults.Truncated()),
    (DOWNLOAD, line_faults.Reset(is_executed=True)),
    (DOWNLOAD, line_faults.Truncated()),
    (DOWNLOAD, line_faults.Stalled(1.0)),
    (DOWNLOAD, line_faults.Answered(429, headers={"Retry-After": "1"})),
    (DOWNLOAD, line_faults.Answered(503)),
]
SOUND = {"text": "x" * 300_000}
"""Of which there is enough to be cut."""


@pytest.fixture
async def lab(crash_server_dsn: str, tmp_path: Path) -> AsyncIterator[ProjectLab]:
    async with line_lab("supabase", crash_server_dsn, tmp_path) as lab:
        assert isinstance(lab, ProjectLab)
        yield lab


@pytest.mark.proves("Storage 5xx, 429, or 400 with 544/503 in the body")
async def test_a_recording_that_storage_gives_with_difficulty(lab: ProjectLab) -> None:
    """One worker, a fault for each meeting; none costs an attempt."""
    worker, done = lab.worker("w1"), []
    for operation, fault in BY_STORAGE:
        lab.storage.faults.next(fault, on=operation)
        done.append(await lab.enqueue(sound=SOUND))
        worker.wait_for("MeetingCompleted", meeting_id=str(done[-1]))
        assert lab.storage.faults.waiting(operation) == 0
        assert lab.attempts(done[-1]) == [("w1", "completed")], fault
    worker.signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    for meeting_id in done:
        await lab.assert_done_once(meeting_id)


async def test_a_recording_on_a_line_that_spoils_it(lab: ProjectLab) -> None:
    worker, done = lab.worker("w1"), []
    for pattern, fault in ON_THE_LINE:
        armed = lab.proxy.arm(fault, pattern)
        done.append(await lab.enqueue(sound=SOUND))
        worker.wait_for("MeetingCompleted", meeting_id=str(done[-1]))
        assert armed.num_met == 1, fault
        assert lab.attempts(done[-1]) == [("w1", "completed")], fault
    worker.signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    for meeting_id in done:
        await lab.assert_done_once(meeting_id)


@pytest.mark.timeout(300)
async def test_heartbeats_go_on_while_a_recording_does_not_come(lab: ProjectLab) -> None:
    """The download notices the silence after half a minute, many leases long; nobody takes the meeting away."""
    lab.hurry(lease_s=2.0)
    stalled = storage_faults.Stall(after_bytes=1000)
    lab.storage.faults.next(stalled)
    meeting_id = await lab.enqueue(sound=SOUND)
    worker, other = lab.worker("w1"), None
    assert await asyncio.to_thread(stalled.started.wait, 60)
    other = lab.beside("w2")
    worker.wait_for("MeetingCompleted", patience_s=120)
    assert lab.attempts(meeting_id) == [("w1", "completed")]
    assert other.is_running
