"""
The scripted worker with its health served: `python -m tests.support.watched_worker`.

Only until `worker.app.run_worker` serves it itself; then tests.support.scripted_worker does the same.
"""

from __future__ import annotations

import asyncio

from tests.support.scripted_worker import OBJECTS, tell
from worker import app, events
from worker.app_health import health_served
from worker.config import Need, Settings, load_settings


async def run(settings: Settings) -> None:
    async with health_served(settings, lambda trouble: tell(events.TroubleBegan(trouble))) as watching:
        await app.run_worker(settings, once=False, observers=[tell, *watching], objects=OBJECTS)


if __name__ == "__main__":
    asyncio.run(run(load_settings([Need.DATABASE, Need.WORKER], env_file=None)))
