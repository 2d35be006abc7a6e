"""What notices, put together from the settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

from tests.support.queue_worlds import TurnedClock
from tests.unit.conftest import RealClock
from worker import events
from worker.app_troubles import noticing
from worker.breaker import OPENS_AFTER
from worker.config import Settings, load_settings
from worker.exceptions import ConfigurationError, from_code
from worker.models import Stage
from worker.ports import Observer
from worker.troubles import Troubles

WEBHOOK = "https://hooks.example.org/services/T0/B1/secret-of-the-channel"


def settings_in(folder: Path, **variables: str) -> Settings:
    environ = {
        "WORKER_ID": "w1",
        "WORKER_NAME": "PC in the cellar",
        "DATABASE_URL": "embedded",
        "AUDIO_TEMP_DIR": str(folder / "temp"),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "LOG_DIR": str(folder / "logs"),
        "MIN_FREE_DISK_BYTES": "0",
        **variables,
    }
    return load_settings(environ=environ, env_file=None)


class Watchers:
    """All observers of a worker, as the composition root keeps them."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.observers: list[Observer] = []

    def note(self, event: object) -> None:
        self.told.append(event)
        for observer in self.observers:
            observer(event)


def break_down(watchers: Watchers) -> None:
    error = from_code("model_unavailable")
    for _ in range(OPENS_AFTER):
        watchers.note(events.MeetingFailed(uuid4(), "retrying", error.code, Stage.TRANSCRIBE, error))


async def test_a_broken_pc_closes_the_gate_and_somebody_hears_of_it(tmp_path: Path) -> None:
    bodies: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        bodies.put_nowait(await request.json())
        return web.Response()

    app, watchers = web.Application(), Watchers()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = settings_in(tmp_path, NOTIFY_WEBHOOK_URL=f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
    try:
        async with noticing(settings, Troubles(watchers.note), RealClock()) as noticed:
            watchers.observers.extend(noticed.observers)
            assert [gate.trouble() for gate in noticed.gates] == [None, None]
            break_down(watchers)
            assert [gate.trouble() is not None for gate in noticed.gates] == [False, True]
            body = await asyncio.wait_for(bodies.get(), 20)
    finally:
        await runner.cleanup()
    assert body["text"].startswith("PC in the cellar on ")
    assert "breaker_open" in body["text"]


async def test_without_a_webhook_troubles_are_told_all_the_same(tmp_path: Path) -> None:
    watchers = Watchers()
    async with noticing(settings_in(tmp_path), Troubles(watchers.note), TurnedClock()) as noticed:
        watchers.observers.extend(noticed.observers)
        break_down(watchers)
        watchers.note(events.QueueSeen(3, 3 * 3600.0))
        watchers.note(events.KeyExpiring("SUPABASE_KEY", "2026-12-31", 3))
    codes = [event.trouble.code for event in watchers.told if isinstance(event, events.TroubleBegan)]
    assert codes == ["breaker_open", "queue_old", "key_expiring"]


async def test_a_disk_without_the_room_that_is_asked_for_closes_the_gate(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MIN_FREE_DISK_BYTES=str(2**60))
    async with noticing(settings, Troubles(Watchers().note), TurnedClock()) as noticed:
        troubles = [gate.trouble() for gate in noticed.gates]
    assert [trouble and trouble.code for trouble in troubles] == ["disk_full", None]


def test_the_webhooks_address_is_a_secret(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, NOTIFY_WEBHOOK_URL=WEBHOOK)
    assert "secret-of-the-channel" not in repr(settings)
    assert WEBHOOK in settings.secrets()


def test_a_webhook_must_be_https_and_a_wrong_one_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_in(tmp_path, NOTIFY_WEBHOOK_URL=WEBHOOK.replace("https", "http"))
    assert "NOTIFY_WEBHOOK_URL" in str(refused.value)
    assert "secret-of-the-channel" not in str(refused.value)
