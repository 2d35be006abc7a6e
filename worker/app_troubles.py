"""What notices that something is wrong, and who is told: part of the composition root."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from worker.config import Settings
from worker.ports import Clock, Gate, Observer
from worker.troubles import Troubles

SIDE_DISK_BYTES = 256 * 1024**2
"""For logs and models on disks of their own: logs are small, and a model that lacks room says so itself."""

logger = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class Noticing:
    """`observers` hear every event; `gates` are asked before each claim."""

    observers: tuple[Observer, ...]
    gates: tuple[Gate, ...]


@asynccontextmanager
async def noticing(settings: Settings, troubles: Troubles, clock: Clock) -> AsyncIterator[Noticing]:
    """
    What tells `troubles`, and with NOTIFY_WEBHOOK_URL the webhook that hears of them, told until the context ends.
    `troubles` must tell the observers that are yielded here, among others.
    """
    from worker.breaker import Breaker
    from worker.trouble_watch import KeysEnd, QueueAge, StoreAway

    breaker = Breaker(troubles, clock)
    queue_age = QueueAge(troubles, limit_s=settings.queue_alarm_hours * 3600)
    async with _webhook(settings, clock) as told:
        yield Noticing(
            observers=(breaker, queue_age, StoreAway(troubles, clock), KeysEnd(troubles), *told),
            gates=(_disk_gate(settings, clock), breaker),
        )


def _disk_gate(settings: Settings, clock: Clock) -> Gate:
    from worker.adapters.disk_gate import DiskGate

    side_bytes = min(SIDE_DISK_BYTES, settings.min_free_disk_bytes)
    folders = {
        "AUDIO_TEMP_DIR": (settings.audio_temp_dir, settings.min_free_disk_bytes),
        "MODEL_CACHE_DIR": (settings.model_cache_dir, side_bytes),
        "LOG_DIR": (settings.log_dir, side_bytes),
    }
    return DiskGate(folders, clock)


@asynccontextmanager
async def _webhook(settings: Settings, clock: Clock) -> AsyncIterator[tuple[Observer, ...]]:
    if settings.notify_webhook_url is None:
        yield ()
        return
    from worker.observe.notices import Notices
    from worker.observe.webhook import Webhook

    notices = Notices(f"{settings.display_name} on {platform.node()}", _local_time())
    webhook = Webhook(settings.notify_webhook_url.get_secret_value(), notices, clock, _local_time)
    telling = asyncio.create_task(webhook.run(), name="webhook")
    try:
        yield (webhook,)
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        if not telling.cancelled() and telling.exception() is not None:
            logger.warning("webhook_failed", extra={"fields": {"problem": type(telling.exception()).__name__}})


def _local_time() -> datetime:
    return datetime.now().astimezone()
