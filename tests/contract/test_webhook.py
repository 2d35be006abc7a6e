"""A webhook over real HTTP that answers, refuses, hangs or is not there; the worker does not mind."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from worker import events
from worker.models import Trouble
from worker.observe.notices import Notices
from worker.observe.webhook import PAUSES_S, Patience, Webhook

PATIENCE_S = 20.0
SECRET = "T0SECRET/B1/xyz"
BEGAN = events.TroubleBegan(Trouble(code="disk_full", sentence="Only 1 GB < 2 GB & shrinking."))
OTHER = events.TroubleBegan(Trouble(code="queue_old", sentence="Old."))
USUAL = Patience()
HANGS_FOR_LONG = Patience(timeout_s=3 * PATIENCE_S, goodbye_s=0.05)
START = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)


class Clock:
    """Pauses between attempts pass at once and are noted; longer waits last until `ring`."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.pauses_s: list[float] = []
        self._bell = asyncio.Event()

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        if seconds not in PAUSES_S:
            await self._bell.wait()
            return
        self.pauses_s.append(seconds)
        await asyncio.sleep(0)

    def ring(self, seconds: float) -> None:
        self.at_s += seconds
        self._bell.set()

    def local_time(self) -> datetime:
        return START + timedelta(seconds=self.at_s)


class Receiver:
    """A server on 127.0.0.1. `statuses` come first, one for each request, then 200; None hangs."""

    def __init__(self, *statuses: int | None) -> None:
        self._statuses = list(statuses)
        self.bodies: list[dict[str, Any]] = []
        self._told = asyncio.Event()

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/services/{SECRET}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def heard(self, number: int) -> list[dict[str, Any]]:
        """All bodies, once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.bodies) < number:
                self._told.clear()
                await self._told.wait()
        return self.bodies

    async def _serve(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self._told.set()
        status = self._statuses.pop(0) if self._statuses else 200
        if status is None:
            await asyncio.Event().wait()
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status or 200, headers=headers)


class Warnings(logging.Handler):
    """What the log says of webhooks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.problems: list[str] = []
        self.text = ""
        self._told = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        self.problems.append(str(fields.get("problem")))
        self.text += f"{record.getMessage()} {fields} {record.exc_info}"
        self._told.set()

    async def heard(self) -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            await self._told.wait()
        return self.problems


@pytest.fixture
async def warnings() -> AsyncIterator[Warnings]:
    handler, logger = Warnings(), logging.getLogger("worker")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def telling(url: str, clock: Clock, patience: Patience = USUAL) -> AsyncIterator[Webhook]:
    webhook = Webhook(url, Notices("w1 on pc", START), clock, clock.local_time, patience)
    task = asyncio.create_task(webhook.run())
    try:
        yield webhook
        assert not task.done(), "it ended by itself"
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_trouble_arrives_as_slack_wants_it(clock: Clock, warnings: Warnings) -> None:
    async with Receiver() as receiver, telling(receiver.url, clock) as webhook:
        webhook(BEGAN)
        assert await receiver.heard(1) == [
            {"text": "w1 on pc: disk_full. Only 1 GB &lt; 2 GB &amp; shrinking."},
        ]
    assert warnings.problems == []


async def test_the_days_line_comes_by_itself(clock: Clock) -> None:
    async with Receiver() as receiver, telling(receiver.url, clock) as webhook:
        webhook(events.MeetingCompleted(uuid4(), "completed", 60.0, 7200.0))
        await asyncio.sleep(0)
        clock.ring(3600.0)
        [body] = await receiver.heard(1)
    assert body["text"] == "w1 on pc: in the last 1 h 1 meeting done, 2.0 h of audio; 0 failed."


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_that_is_busy_for_a_moment_hears_it_a_little_later(
    clock: Clock, warnings: Warnings, status: int
) -> None:
    async with Receiver(status, status) as receiver, telling(receiver.url, clock) as webhook:
        webhook(BEGAN)
        bodies = await receiver.heard(3)
    assert bodies[0] == bodies[1] == bodies[2]
    assert clock.pauses_s == list(PAUSES_S[:2])
    assert warnings.problems == []


@pytest.mark.parametrize("status", [404, 410, 302])
async def test_a_refusal_is_one_warning_and_is_not_repeated(clock: Clock, warnings: Warnings, status: int) -> None:
    """A redirect is one as well: the message must not end up anywhere else."""
    async with Receiver(status) as receiver, telling(receiver.url, clock) as webhook:
        webhook(BEGAN)
        assert await warnings.heard() == [f"HTTP {status}"]
        assert len(receiver.bodies) == 1
    assert clock.pauses_s == []


async def test_a_server_that_stays_away_is_given_up_with_one_warning_until_it_is_back(
    clock: Clock, warnings: Warnings
) -> None:
    num_attempts = len(PAUSES_S) + 1
    async with Receiver(*[500] * 2 * num_attempts) as receiver, telling(receiver.url, clock) as webhook:
        webhook(BEGAN)
        await receiver.heard(num_attempts)
        webhook(OTHER)
        await receiver.heard(2 * num_attempts)
        webhook(events.TroubleBegan(Trouble(code="third", sentence="Third.")))
        assert "third" in (await receiver.heard(2 * num_attempts + 1))[-1]["text"]
    assert warnings.problems == ["HTTP 500"]


async def test_a_server_that_hangs_is_left_after_the_timeout(clock: Clock, warnings: Warnings) -> None:
    patience = Patience(timeout_s=0.05)
    async with (
        Receiver(*[None] * (len(PAUSES_S) + 1)) as receiver,
        telling(receiver.url, clock, patience) as webhook,
    ):
        webhook(BEGAN)
        assert len(await warnings.heard()) == 1
        webhook(OTHER)
        assert "queue_old" in (await receiver.heard(len(PAUSES_S) + 2))[-1]["text"]


async def test_nobody_listening_is_a_warning_without_the_address(clock: Clock, warnings: Warnings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with telling(f"http://127.0.0.1:{closed.getsockname()[1]}/services/{SECRET}", clock) as webhook:
            webhook(BEGAN)
            assert await warnings.heard() == ["ClientConnectorError"]
    assert clock.pauses_s == list(PAUSES_S)
    assert SECRET not in warnings.text
    assert "127.0.0.1" not in warnings.text


async def test_telling_never_makes_the_worker_wait(clock: Clock) -> None:
    """Hours of events while the server hangs: nothing is queued but the newest state of each trouble."""
    async with Receiver(None) as receiver, telling(receiver.url, clock, HANGS_FOR_LONG) as webhook:
        webhook(BEGAN)
        await receiver.heard(1)
        for _ in range(1000):
            webhook(events.TroubleEnded("disk_full"))
            webhook(BEGAN)
        webhook(OTHER)
        assert len(webhook.notices.take_due(clock.at_s, clock.local_time())) == 1


async def test_what_was_noticed_just_before_the_worker_stops_is_still_told(clock: Clock) -> None:
    async with Receiver() as receiver:
        async with telling(receiver.url, clock) as webhook:
            await asyncio.sleep(0)
            webhook(BEGAN)
        assert len(receiver.bodies) == 1


async def test_a_stopping_worker_does_not_wait_long_for_a_server_that_hangs(clock: Clock) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Receiver(None, None) as receiver,
        telling(receiver.url, clock, HANGS_FOR_LONG) as webhook,
    ):
        webhook(BEGAN)
        await receiver.heard(1)
        webhook(OTHER)
