"""A real worker on a PC where every engine fails: it stops claiming, says so, and the queue is not burned."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.crash.conftest import Lab
from tests.support.notify_socket import service_manager
from tests.support.shell import Shell
from tests.support.worker_process import environment_in, url_of
from worker.breaker import CODE, OPENS_AFTER
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash

NUM_MEETINGS = OPENS_AFTER + 4


@pytest.mark.proves("every job fails on this PC")
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


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.proves("every job fails on this PC")
async def test_whoever_asks_a_broken_pc_or_the_fleet_is_told_and_a_restart_begins_anew(lab: Lab) -> None:
    """systemd, /ready and /health on the PC, `status` on any other; the engine that is mended meanwhile works."""
    mended, port = lab.folder / "mended", unused_port()
    script = {"kill_signal": int(signal.SIGSEGV), "only_first": OPENS_AFTER, "count_file": str(mended)}
    meetings = [await lab.enqueue(transcribe=script) for _ in range(NUM_MEETINGS)]
    variables = {"MAX_CONCURRENT_JOBS": "1", "HEALTH_PORT": str(port)}
    with service_manager() as manager:
        broken = lab.worker("w1", once=False, flags=[], NOTIFY_SOCKET=manager.address, **variables)
        status = await asyncio.to_thread(manager.wait_for, "STATUS", lambda text: "attempts on this PC failed" in text)
        assert "python -m worker doctor" in status
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/ready") as ready:
                assert ready.status == 503
            async with session.get(f"http://127.0.0.1:{port}/health") as health:
                assert CODE in await health.text()
        await asyncio.to_thread(broken.wait_for, "QueueSeen")
        shell = Shell(lab.folder, environment_in(lab.folder, url_of(lab.dsn), "another"))
        shown = await asyncio.to_thread(shell.json, "status")
        assert CODE in str(shown["workers"])
        broken.signal(signal.SIGTERM)
        assert await asyncio.to_thread(broken.wait) == 0, broken.errors

    lab.execute("update pc_worker.jobs set run_at = now() where state = 'pending'")
    again = lab.worker("w1", once=True)
    assert await asyncio.to_thread(again.wait) == 0, again.errors
    for meeting_id in meetings:
        await lab.assert_done_once(meeting_id)
