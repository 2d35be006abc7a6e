"""Real processes come with the first meeting and go with the last; a stand-in is found on PATH as the real one is."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.children import is_running, wait_until
from worker import events
from worker.observe.sleep_inhibitor import COMMAND, PATH, SleepInhibitor

DEADLINE_S = 20.0


def stand_in(folder: Path, script: str) -> str:
    """A `systemd-inhibit` that follows this shell script; the PATH that finds it first."""
    program = folder / "systemd-inhibit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}:{PATH}"


HOLDING = 'echo $$ >> "$(dirname "$0")/pids"; shift $(($# - 1)); "$1"; exit 0'
"""As the real one: runs the last argument, and ends with it."""


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def claim(inhibitor: SleepInhibitor) -> UUID:
    meeting_id = uuid4()
    inhibitor(events.MeetingClaimed(meeting_id, 1, 1))
    return meeting_id


async def test_the_lock_is_held_from_the_first_meeting_to_the_end_of_the_last(tmp_path: Path) -> None:
    async with SleepInhibitor(path=stand_in(tmp_path, HOLDING)) as inhibitor:
        first, second = claim(inhibitor), claim(inhibitor)
        assert wait_until(lambda: len(pids(tmp_path)) == 1)
        (pid,) = pids(tmp_path)
        inhibitor(events.MeetingReleased(first, "released"))
        third = claim(inhibitor)
        inhibitor(events.MeetingCompleted(second, "completed", 1.0, 1.0))
        assert is_running(pid)
        inhibitor(events.MeetingFailed(third, "failed", "audio_corrupted", None, ValueError()))
        assert wait_until(lambda: not is_running(pid))
        claim(inhibitor)
        assert wait_until(lambda: len(pids(tmp_path)) == 2)
    assert len(pids(tmp_path)) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(tmp_path)), "its end was not waited for"


async def test_an_idle_worker_holds_no_lock(tmp_path: Path) -> None:
    async with SleepInhibitor(path=stand_in(tmp_path, HOLDING)) as inhibitor:
        inhibitor(events.WorkerStarted("w", 0, 0))
    assert pids(tmp_path) == []


@pytest.mark.parametrize("script", ["echo 'Failed to inhibit: Access denied' >&2; exit 1", None])
async def test_refused_or_missing_is_told_once_and_never_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str | None
) -> None:
    path = stand_in(tmp_path, script) if script else str(tmp_path)
    with caplog.at_level(logging.INFO, "worker"):
        async with SleepInhibitor(path=path) as inhibitor:
            for _ in range(3):
                meeting_id = claim(inhibitor)
                async with asyncio.timeout(DEADLINE_S):
                    while not caplog.records:
                        await asyncio.sleep(0.005)
                inhibitor(events.MeetingDropped(meeting_id, "gone"))
    (record,) = caplog.records
    assert record.getMessage() == "sleep_not_inhibited"
    assert record.fields["reason"] in ("Failed to inhibit: Access denied", "No such file or directory")  # type: ignore[attr-defined]  # set by extra


async def test_one_that_does_not_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.observe.sleep_inhibitor.LEAVE_S", 0.05)
    async with SleepInhibitor(
        path=stand_in(tmp_path, 'echo $$ > "$(dirname "$0")/pids"; exec sleep 1000')
    ) as inhibitor:
        claim(inhibitor)
        assert wait_until(lambda: pids(tmp_path) != [])
    assert not Path(f"/proc/{pids(tmp_path)[0]}").exists()


def test_a_killed_worker_leaves_no_lock_behind(tmp_path: Path) -> None:
    """The kernel closes the pipe."""
    program = (
        "import asyncio, sys, uuid\n"
        "from worker import events\n"
        "from worker.observe.sleep_inhibitor import SleepInhibitor\n"
        "async def main():\n"
        "    async with SleepInhibitor(path=sys.argv[1]) as inhibitor:\n"
        "        inhibitor(events.MeetingClaimed(uuid.uuid4(), 1, 1))\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", program, stand_in(tmp_path, HOLDING)], cwd=root)
    try:
        assert wait_until(lambda: pids(tmp_path) != [])
        (pid,) = pids(tmp_path)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    assert wait_until(lambda: not is_running(pid))


def test_the_real_command_blocks_sleep_and_nothing_else() -> None:
    assert COMMAND[:3] == ("systemd-inhibit", "--what=sleep", "--mode=block")
    assert COMMAND[-1] == "cat"
