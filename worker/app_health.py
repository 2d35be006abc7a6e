"""Composition of health and metrics: what a running worker serves, and what `python -m worker health` asks."""

from __future__ import annotations

import http.client
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from pydantic import ValidationError

from worker.config import Settings
from worker.models import Trouble
from worker.observe.health_report import HealthReport
from worker.ports import Observer

ASK_TIMEOUT_S = 5.0
"""It is this PC, and the answer is read from memory; a loop that needs longer does not turn."""

EVERY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, and never bound to
"""What to ask where the server listens everywhere."""


@asynccontextmanager
async def health_served(
    settings: Settings,
    begin_trouble: Callable[[Trouble], None],
    *,
    gpu_memory_bytes: Callable[[], tuple[int, int] | None] = lambda: None,
) -> AsyncIterator[list[Observer]]:
    """
    Serve health and metrics on HEALTH_PORT while the block runs; nothing, at no cost, when it is not set.

    Args:
        begin_trouble: hears of `health_unavailable` when the port cannot be had; the worker goes on.
        gpu_memory_bytes: used and total; None when there is no GPU. Asked at each look at /metrics.

    Yields:
        the Observers that must be handed every event of the worker, from before its first.
    """
    if settings.health_port is None:
        yield []
        return
    from worker.observe.health import Health
    from worker.observe.health_server import health_server
    from worker.observe.metrics import Metrics, Probes

    def free_bytes() -> int | None:
        try:
            return shutil.disk_usage(settings.audio_temp_dir).free
        except OSError:
            return None

    health = Health(monotonic=time.monotonic, free_bytes=free_bytes)
    probes = Probes(gpu_memory_bytes=gpu_memory_bytes, free_bytes=free_bytes)
    metrics = Metrics(health, worker_id=settings.worker_id or "", probes=probes)
    async with health_server(
        health, metrics, host=settings.health_host, port=settings.health_port, begin_trouble=begin_trouble
    ) as port:
        yield [] if port is None else [health, metrics]


class Answer(NamedTuple):
    """What the worker says of itself; without a report the sentence says why there is none, and what to do."""

    report: HealthReport | None
    sentence: str = ""


def ask_health(settings: Settings) -> Answer:
    """What the worker on this PC says on HEALTH_PORT. Blocks for up to ASK_TIMEOUT_S; raises nothing."""
    port = settings.health_port
    if port is None:
        return Answer(None, "HEALTH_PORT is not set. Set it in .env, such as HEALTH_PORT=9180, and restart the worker.")
    host = EVERY_HOST.get(settings.health_host, settings.health_host)
    connection = http.client.HTTPConnection(host, port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        text = connection.getresponse().read()
        return Answer(HealthReport.model_validate_json(text))
    except TimeoutError:
        return Answer(None, f"The worker on port {port} does not answer. Look into its log, or restart it.")
    except (OSError, http.client.HTTPException):
        return Answer(None, f"No worker answers on port {port}. Start it, or look into its log for why it ended.")
    except ValidationError:
        return Answer(None, f"What answers on port {port} is no worker of this version. Give HEALTH_PORT another one.")
    finally:
        connection.close()
