"""A scripted worker as systemd would start it: `python -m tests.support.systemd_worker`, with NOTIFY_SOCKET set."""

from __future__ import annotations

import asyncio

from tests.support.scripted_worker import OBJECTS, tell
from worker import app
from worker.app_systemd import reported_to_systemd
from worker.config import Need, load_settings


async def work() -> None:
    settings = load_settings([Need.DATABASE, Need.WORKER], env_file=None)
    async with reported_to_systemd() as service:
        await app.run_worker(settings, once=False, observers=[tell, service], objects=OBJECTS)


if __name__ == "__main__":
    asyncio.run(work())
