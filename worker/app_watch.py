"""Who watches a running worker, and what may stop it from claiming: part of the composition root."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from worker.app_access import project_access
from worker.app_health import health_served
from worker.app_systemd import reported_to_systemd
from worker.app_troubles import noticing
from worker.config import Settings
from worker.ports import Clock, Gate, Observer
from worker.troubles import Troubles


@asynccontextmanager
async def watched(
    settings: Settings,
    watchers: list[Observer],
    observe: Observer,
    troubles: Troubles,
    clock: Clock,
    *,
    gpu_memory_bytes: Callable[[], tuple[int, int] | None],
) -> AsyncIterator[tuple[Gate, ...]]:
    """
    systemd, HEALTH_PORT, the webhook and the ends of keys, for as long as the block runs.

    Args:
        watchers: whom `observe` tells every event, and `troubles` theirs; those of this block are added.

    Yields:
        what is asked before each claim.
    """
    async with AsyncExitStack() as stack:
        watchers.append(await stack.enter_async_context(reported_to_systemd()))
        served = health_served(settings, troubles.begin, gpu_memory_bytes=gpu_memory_bytes)
        watchers += await stack.enter_async_context(served)
        noticed = await stack.enter_async_context(noticing(settings, troubles, clock))
        watchers += noticed.observers
        await stack.enter_async_context(_expiry_watched(settings, observe, clock))
        yield noticed.gates


@asynccontextmanager
async def _expiry_watched(settings: Settings, observe: Observer, clock: Clock) -> AsyncIterator[None]:
    access = project_access(settings)
    if access is None:
        yield
        return
    from worker.key_expiry import watch_expiry

    watch = asyncio.create_task(watch_expiry(access.by_variable, observe, clock, time.time), name="expiry of keys")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])
