"""A real worker on a PC where every engine fails: it stops claiming, says so, and the queue is not burned."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from tests.crash.conftest import Lab
from worker.breaker import CODE, OPENS_AFTER
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash

NUM_MEETINGS = OPENS_AFTER + 4


async def test_a_pc_on_which_every_engine_fails_leaves_the_queue_to_the_others(lab: Lab) -> None:
    bodies = asyncio.Queue[dict[str, Any]]()

    async def receive(request: web.Request) -> web.Response:
        bodies.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        meetings = [await lab.enqueue(transcribe={"raise_code": "model_unavailable"}) for _ in range(NUM_MEETINGS)]
        hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        broken = lab.worker("w1", NOTIFY_WEBHOOK_URL=hook, MAX_CONCURRENT_JOBS="1")
        told = await asyncio.to_thread(broken.wait_for, "TroubleBegan")
        assert CODE in told["trouble"]
        body = await asyncio.wait_for(bodies.get(), 30)
        assert f"{CODE}. " in body["text"]
        assert "model_unavailable" in body["text"]

        await asyncio.to_thread(broken.wait_for, "QueueSeen")  # alive, and it has told the fleet
        [worker] = (await lab.store.status()).workers
        assert [trouble.code for trouble in worker.troubles] == [CODE]
        num_claims = Counter(event["event"] for event in broken.seen)["MeetingClaimed"]
        assert num_claims == OPENS_AFTER
        assert {await lab.status(meeting_id) for meeting_id in meetings} == {MeetingStatus.PENDING}
    finally:
        await runner.cleanup()
