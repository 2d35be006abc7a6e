"""The worker as a service: what systemd hears of it, and that its PC stays awake; part of the composition root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from worker.ports import Observer

CHILD_LOAD_S = 900.0
"""How long a child may be silent while it starts, and again while it loads its models (ChildProcess.load_s)."""


@asynccontextmanager
async def reported_to_systemd(environ: Mapping[str, str] | None = None) -> AsyncIterator[Observer]:
    """
    An Observer that must get all events of a worker. While this block runs, systemd is told how the worker is; at its
    end, that it stops. Where no service manager has started the worker ($NOTIFY_SOCKET is not set) nothing is told, and
    the PC may sleep as it likes: somebody sits in front of it.
    """
    environ = os.environ if environ is None else environ
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        yield lambda _event: None
        return
    from worker.adapters.stages_children import STALL_S
    from worker.observe.sd_notify import NotifySocket
    from worker.observe.service_state import ServiceState
    from worker.observe.sleep_inhibitor import SleepInhibitor

    async with AsyncExitStack() as stack:
        notifier = NotifySocket(address)
        stack.callback(notifier.close)
        stall_s = 2 * CHILD_LOAD_S + max(STALL_S.values())
        state = ServiceState(notifier, watchdog_s=watchdog_s(environ), stall_s=stall_s)
        inhibitor = await stack.enter_async_context(SleepInhibitor())
        telling = asyncio.create_task(state.run(), name="systemd")
        stack.push_async_callback(_cancelled, telling)

        def observe(event: object) -> None:
            state(event)
            inhibitor(event)

        try:
            yield observe
        finally:
            state.stop()


def watchdog_s(environ: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC in seconds; None when it is not set or meant for another process (sd_watchdog_enabled(3))."""
    period_us, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period_us.isdigit() or int(period_us) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(period_us) / 1_000_000


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
