"""A real worker is asked how it is, while it starts, works, drains and after it has ended."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.crash.conftest import Lab
from tests.support.worker_process import ROOT, WorkerProcess, environment_in, url_of

pytestmark = pytest.mark.crash


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


class Watched:
    """A worker that serves its health, and who asks."""

    def __init__(self, folder: Path, database_url: str, **variables: str) -> None:
        self.port = unused_port()
        self.environment = environment_in(
            folder, database_url, f"w1-{folder.name}", HEALTH_PORT=str(self.port), **variables
        )
        self.worker = WorkerProcess("tests.support.scripted_worker", environment=self.environment)

    def get(self, path: str) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def samples(self) -> dict[tuple[str, ...], float]:
        """By name and the values of its labels, which are sorted by name."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", "health", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_a_worker_tells_how_it_is_from_its_start_to_its_end(lab: Lab, processes: ExitStack) -> None:
    watched = Watched(lab.folder, url_of(lab.dsn))
    processes.callback(watched.worker.close)
    watched.worker.wait_for("WorkerStarted")
    assert await asyncio.to_thread(watched.get, "/ready") == (200, "ready\n")

    done = await lab.enqueue(title="a secret title")
    watched.worker.wait_for("MeetingCompleted", meeting_id=str(done))
    samples = await asyncio.to_thread(watched.samples)
    assert samples["pc_worker_meetings_total", "", "completed"] == 1
    assert samples["pc_worker_stage_seconds_count", "transcribe"] == 1
    assert samples["pc_worker_real_time_factor_count",] == 1

    go = lab.folder / "go"
    running = await lab.enqueue(transcribe={"until": str(go)})
    watched.worker.wait_for("StageStarted", meeting_id=str(running), stage="transcribe")
    watched.worker.signal(signal.SIGTERM)
    watched.worker.wait_for("DrainStarted")
    assert (await asyncio.to_thread(watched.get, "/ready"))[0] == 503
    assert (await asyncio.to_thread(watched.get, "/live"))[0] == 200
    status, text = await asyncio.to_thread(watched.get, "/health")
    assert status == 503
    assert "secret title" not in text
    report: dict[str, Any] = json.loads(text)
    assert [(work["meeting_id"], work["stage"]) for work in report["meetings"]] == [(str(running), "transcribe")]
    assert (await asyncio.to_thread(watched.command)).returncode == 1

    go.touch()
    assert watched.worker.wait() == 0, watched.worker.errors
    with pytest.raises(ConnectionRefusedError):
        watched.get("/live")


async def test_the_command_knows_a_worker_that_is_ready_from_one_that_is_gone(lab: Lab, processes: ExitStack) -> None:
    watched = Watched(lab.folder, url_of(lab.dsn))
    processes.callback(watched.worker.close)
    watched.worker.wait_for("WorkerStarted")
    ready = await asyncio.to_thread(watched.command, "--json")
    assert (ready.returncode, json.loads(ready.stdout)["ready"]) == (0, True), ready.stderr
    watched.worker.kill()
    gone = await asyncio.to_thread(watched.command)
    assert gone.returncode == 1
    assert "No worker answers" in gone.stderr


def test_a_worker_that_reaches_no_database_is_alive_and_not_ready(tmp_path: Path, processes: ExitStack) -> None:
    """So nothing restarts it, which would not help."""
    watched = Watched(tmp_path, f"postgresql://nobody@127.0.0.1:{unused_port()}/none")
    processes.callback(watched.worker.close)
    watched.worker.wait_for("StoreUnavailable")
    assert watched.get("/live")[0] == 200
    status, text = watched.get("/ready")
    assert status == 503
    assert "not registered" in text


async def test_a_port_that_is_taken_stops_no_worker(lab: Lab, processes: ExitStack) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        environment = environment_in(lab.folder, url_of(lab.dsn), f"w1-{lab.folder.name}", HEALTH_PORT=port)
        worker = WorkerProcess("tests.support.scripted_worker", environment=environment)
        processes.callback(worker.close)
        trouble = worker.wait_for("TroubleBegan")["trouble"]
        assert "health_unavailable" in str(trouble)
        meeting_id = await lab.enqueue()
        worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))
