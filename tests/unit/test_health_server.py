"""Health over HTTP, as systemd, Prometheus, scripts and people ask for it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from tests.support.settings import settings_in
from worker import events
from worker.app_health import ask_health, health_served
from worker.cli import cli
from worker.config import Settings
from worker.exceptions import SupabaseStorageError
from worker.models import Stage, Trouble
from worker.observe.health_report import HealthReport

STARTED = events.WorkerStarted("test-1", 0, 0)


def unused_port(host: str = "127.0.0.1") -> int:
    with closing(socket.socket()) as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


class Served:
    """A worker's server, as a worker runs it, and a client."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.observers: list[Any] = []
        self.troubles: list[Trouble] = []

    def tell(self, *told: events.Event) -> None:
        for event in told:
            for observer in self.observers:
                observer(event)

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.settings.health_port}{path}"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            return answer.status, await answer.text()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, HEALTH_PORT=str(unused_port()), SUPABASE_JWT_SECRET="a-secret-word")


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Served]:
    it = Served(settings)
    async with health_served(settings, it.troubles.append, gpu_memory_bytes=lambda: (3, 24)) as it.observers:
        yield it


async def test_ready_is_503_until_the_worker_takes_meetings_and_again_while_it_drains(served: Served) -> None:
    assert await served.get("/live") == (200, "live\n")
    assert (await served.get("/ready"))[0] == 503
    served.tell(STARTED)
    assert await served.get("/ready") == (200, "ready\n")
    served.tell(events.DrainStarted(1, 60.0))
    status, text = await served.get("/ready")
    assert status == 503
    assert "stopping" in text
    assert (await served.get("/live"))[0] == 200, "who drains is alive"
    served.tell(events.WorkerStopped("test-1", 0))
    assert (await served.get("/live"))[0] == 503


async def test_health_is_json_that_names_every_component(served: Served) -> None:
    served.tell(STARTED, events.TroubleBegan(Trouble(code="breaker_open", sentence="Run doctor.")))
    status, text = await served.get("/health")
    assert status == 503
    found = json.loads(text)
    assert {part["name"]: part["state"] for part in found["components"]} == {
        "database": "ok",
        "storage": "ok",
        "engine": "failed",
        "disk": "ok",
        "queue": "ok",
        "last completed meeting": "ok",
    }
    assert found["troubles"] == [{"code": "breaker_open", "sentence": "Run doctor."}]
    served.tell(events.TroubleEnded("breaker_open"))
    assert (await served.get("/health"))[0] == 200


async def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.tell(STARTED, events.MeetingCompleted(uuid4(), "completed", 30.0, 300.0))
    status, text = await served.get("/metrics")
    assert status == 200
    samples = {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["pc_worker_meetings_total", "completed"] == 1
    assert samples["pc_worker_ready", ""] == 1
    assert samples["pc_worker_gpu_memory_total_bytes", ""] == 24
    assert samples["pc_worker_free_bytes", ""] > 0


async def test_a_slow_driver_holds_up_who_asks_and_nobody_else(settings: Settings) -> None:
    """The loop also sends the heartbeats: it must turn while a GPU is being asked for its memory."""
    asked, go = threading.Event(), threading.Event()

    def slow() -> tuple[int, int]:
        asked.set()
        assert go.wait(30)
        return 3, 24

    it = Served(settings)
    async with health_served(settings, it.troubles.append, gpu_memory_bytes=slow) as it.observers:
        scrape = asyncio.create_task(it.get("/metrics"))
        assert await asyncio.to_thread(asked.wait, 30)
        assert (await it.get("/live"))[0] == 200
        assert not scrape.done()
        go.set()
        assert "pc_worker_gpu_memory_used_bytes 3.0" in (await scrape)[1]


async def test_no_answer_holds_a_path_a_secret_or_an_errors_details(served: Served) -> None:
    error = SupabaseStorageError(None, url="https://example.org/signed?token=abc", path="/secret/path")
    meeting = uuid4()
    served.tell(STARTED, events.MeetingClaimed(meeting, 1, 1), events.StageStarted(meeting, Stage.FETCH))
    served.tell(events.MeetingFailed(uuid4(), "retrying", error.code, Stage.FETCH, error))
    for path in ("/live", "/ready", "/health", "/metrics", "/nothing"):
        text = (await served.get(path))[1]
        assert not re.search(r"a-secret-word|token=|/secret|temp_audio", text), path
        assert str(served.settings.audio_temp_dir) not in text


async def test_other_paths_and_methods_are_refused(served: Served) -> None:
    assert (await served.get("/"))[0] == 404
    url = f"http://127.0.0.1:{served.settings.health_port}/health"
    async with aiohttp.ClientSession() as client, client.post(url) as answer:
        assert answer.status == 405


async def test_only_this_pc_is_served_unless_the_setting_says_so(tmp_path: Path) -> None:
    """127.0.0.2 is another address of the same PC: what listens on every address answers there too."""
    port = unused_port()
    assert settings_in(tmp_path).health_host == "127.0.0.1"
    for host, answers in (("127.0.0.1", False), ("0.0.0.0", True)):
        settings = settings_in(tmp_path, HEALTH_PORT=str(port), HEALTH_HOST=host)
        async with health_served(settings, lambda _: None):
            with closing(socket.socket()) as caller:
                caller.settimeout(10)
                assert (caller.connect_ex(("127.0.0.2", port)) == 0) is answers
            answer = await asyncio.to_thread(ask_health, settings)
            assert answer.report is not None


async def test_without_a_port_nothing_is_served(tmp_path: Path) -> None:
    async with health_served(settings_in(tmp_path), lambda _: None) as observers:
        assert observers == []


async def test_a_port_that_is_taken_is_a_trouble_and_no_reason_to_stop(settings: Settings) -> None:
    troubles: list[Trouble] = []
    with closing(socket.create_server(("127.0.0.1", settings.health_port or 0))):
        async with health_served(settings, troubles.append) as observers:
            assert observers == []
    assert [trouble.code for trouble in troubles] == ["health_unavailable"]
    assert f"port {settings.health_port}" in troubles[0].sentence
    assert "HEALTH_PORT of its own" in troubles[0].sentence


async def test_a_scraper_that_keeps_its_connection_does_not_keep_a_worker_from_stopping(settings: Settings) -> None:
    async with aiohttp.ClientSession() as client, asyncio.timeout(30), health_served(settings, lambda _: None):
        answer = await client.get(f"http://127.0.0.1:{settings.health_port}/metrics")
        assert answer.status == 200


# --- the command -------------------------------------------------------------------------------------------------


@contextmanager
def served_elsewhere(settings: Settings, *told: events.Event) -> Iterator[None]:
    """The server in a thread of its own: the command blocks, as it does in a process of its own."""
    is_up, done = threading.Event(), threading.Event()

    async def serve() -> None:
        served = Served(settings)
        async with health_served(settings, served.troubles.append) as served.observers:
            served.tell(*told)
            is_up.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_up.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()


def health(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, port: int | None = None) -> Any:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HEALTH_PORT", raising=False)
    if port is not None:
        monkeypatch.setenv("HEALTH_PORT", str(port))
    return CliRunner().invoke(cli, ["health", *arguments])


def test_the_command_says_in_words_what_is_wrong_and_fails_then(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = uuid4()
    at_work = (events.MeetingClaimed(meeting, 1, 1), events.StageProgressed(meeting, Stage.TRANSCRIBE, 0.42))
    with served_elsewhere(settings, STARTED, *at_work):
        result = health(tmp_path, monkeypatch, port=settings.health_port)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ready\n")
    assert f"working on {meeting}: transcribe 42%" in result.stdout
    full = events.TroubleBegan(Trouble(code="disk_full", sentence="Make room on the disk."))
    with served_elsewhere(settings, STARTED, full):
        result = health(tmp_path, monkeypatch, port=settings.health_port)
    assert result.exit_code == 1
    assert result.stdout.startswith("not ready\nMake room on the disk.\n")


def test_the_command_gives_scripts_the_whole_report(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_elsewhere(settings, STARTED):
        result = health(tmp_path, monkeypatch, "--json", port=settings.health_port)
    assert result.exit_code == 0
    assert HealthReport.model_validate_json(result.stdout).ready


@pytest.mark.parametrize(
    ("is_set", "sentence"), [(False, "HEALTH_PORT is not set. Set it"), (True, "No worker answers on port")]
)
def test_without_an_answer_the_command_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_set: bool, sentence: str
) -> None:
    port = unused_port() if is_set else None
    result = health(tmp_path, monkeypatch, port=port)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stdout == ""
    as_json = health(tmp_path, monkeypatch, "--json", port=port)
    assert as_json.exit_code == 1
    assert sentence in json.loads(as_json.stdout)["reasons"][0]


def test_something_else_on_the_port_is_not_taken_for_a_worker(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as stranger:
        settings = settings_in(tmp_path, HEALTH_PORT=str(stranger.getsockname()[1]))

        def answer() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        found = ask_health(settings)
        thread.join()
    assert found.report is None
    assert "no worker of this version" in found.sentence
