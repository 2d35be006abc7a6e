"""
/live, /ready, /health and /metrics over HTTP, for this PC unless HEALTH_HOST says otherwise.

A module of its own that is imported only when HEALTH_PORT is set: aiohttp.web costs the supervisor memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from worker.models import Trouble
from worker.observe.health import Health
from worker.observe.metrics import Metrics

SHUTDOWN_S = 1.0
"""A scraper that holds its connection must not keep a worker from stopping."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def health_server(
    health: Health, metrics: Metrics, *, host: str, port: int, begin_trouble: Callable[[Trouble], None]
) -> AsyncIterator[int | None]:
    """
    Serve until the block is left; the value is the port, which with `port` 0 is any free one.

    A port that cannot be had is a warning and the trouble `health_unavailable`, never more: a worker does not die of
    being watched. The value is None then.
    """
    runner = web.AppRunner(_application(health, metrics), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        yield await _listening(runner, host, port, begin_trouble)
    finally:
        await runner.cleanup()


async def _listening(
    runner: web.AppRunner, host: str, port: int, begin_trouble: Callable[[Trouble], None]
) -> int | None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        logger.warning("health_unavailable", extra={"fields": {"port": port, "errno": error.errno}})
        begin_trouble(Trouble(code="health_unavailable", sentence=unavailable(port)))
        return None
    return int(runner.addresses[0][1])


def unavailable(port: int) -> str:
    return (
        f"Nobody can ask for this worker's health: port {port} cannot be opened on HEALTH_HOST. Give each worker on "
        "this PC a HEALTH_PORT of its own and restart it; its work goes on meanwhile."
    )


def _application(health: Health, metrics: Metrics) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return _said(health.live, "live\n" if health.live else "The worker has stopped.\n")

    async def ready(_: web.Request) -> web.Response:
        reasons = health.reasons()
        return _said(not reasons, "\n".join(reasons or ("ready",)) + "\n")

    async def whole(_: web.Request) -> web.Response:
        report = health.report()
        return _said(report.ready, report.model_dump_json(indent=2) + "\n", content_type="application/json")

    async def measured(_: web.Request) -> web.Response:
        await asyncio.to_thread(metrics.measure)
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    routes = {"/live": live, "/ready": ready, "/health": whole, "/metrics": measured}
    application.add_routes([web.get(path, answer) for path, answer in routes.items()])
    return application


def _said(is_well: bool, text: str, *, content_type: str = "text/plain") -> web.Response:
    return web.Response(status=200 if is_well else 503, text=text, content_type=content_type)
