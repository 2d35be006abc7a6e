"""What systemd hears of the worker, and when it stops hearing that it is well (systemd.service(5), sd_notify(3))."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from worker import events
from worker.observe.sd_notify import NotifySocket
from worker.observe.status_line import StatusLine

TICK_S = 1.0
"""How often the state is looked at: the most datagrams a second for STATUS, and how fast a frozen loop is noticed."""

EXTEND_EVERY_S = 10.0
EXTEND_BY_S = 120.0
"""Asked for anew long before it ends: a worker that drains is killed only two minutes after its loop has frozen."""

MICROSECONDS = 1_000_000


class ServiceState:
    """
    An Observer. `run` must be going beside it.

    READY comes when the worker is registered. It also comes when the database is away or something else keeps it from
    its work: the service is up then and waits, and restarting it would mend nothing; STATUS says what it waits for.

    Args:
        watchdog_s: $WATCHDOG_USEC in seconds; None when systemd does not watch.
        stall_s: a worker whose meetings show no sign of life for so long is no longer called well. Longer than every
            limit after which the children themselves are killed, so that it strikes only when those limits have failed.
    """

    def __init__(
        self,
        notifier: NotifySocket,
        *,
        watchdog_s: float | None,
        stall_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = StatusLine(monotonic)
        self._notifier, self._monotonic = notifier, monotonic
        self._watchdog_s, self._stall_s = watchdog_s, stall_s
        self._is_ready = self._is_told_ready = self._is_stopping = self._is_told_stopping = False
        self._told: str | None = None
        self._moved_s = monotonic()
        self._fed_s = self._extended_s = float("-inf")

    def __call__(self, event: object) -> None:
        was_idle = self.status.num_meetings == 0
        self.status(event)
        if was_idle or _is_movement(event):
            self._moved_s = self._monotonic()
        match event:
            case events.DrainStarted() | events.WorkerStopped():
                self.stop()
            case events.WorkerStarted() | events.StoreUnavailable() | events.TroubleBegan():
                self._is_ready = True
                self._tell_ready()
            case _ if not self._is_ready:
                self._extend()  # results of an earlier run are being handed over first

    async def run(self) -> None:
        """Until cancelled. Runs in the worker's own loop, so that a loop that is frozen feeds no watchdog."""
        tick_s = min(TICK_S, self._watchdog_s / 3) if self._watchdog_s else TICK_S
        while True:
            self.tick()
            await asyncio.sleep(tick_s)

    def tick(self) -> None:
        self._tell_ready()
        self._tell_stopping()
        self._tell_status()
        if self._is_stopping:
            self._extend()
        if self._watchdog_s:
            self._feed(self._watchdog_s / 3)

    @property
    def is_well(self) -> bool:
        """Idle, or its meetings have moved on lately."""
        return self.status.num_meetings == 0 or self._monotonic() - self._moved_s < self._stall_s

    def stop(self) -> None:
        """The worker has begun to stop; may be called again."""
        self._is_stopping = True
        self._tell_stopping()

    def _tell_ready(self) -> None:
        text = str(self.status)
        if self._is_ready and not self._is_told_ready and self._notifier.send(READY=1, STATUS=text):
            self._is_told_ready, self._told = True, text

    def _tell_stopping(self) -> None:
        if self._is_stopping and not self._is_told_stopping:
            self._is_told_stopping = self._notifier.send(STOPPING=1)
            self._extend()

    def _feed(self, every_s: float) -> None:
        now = self._monotonic()
        if self.is_well and now - self._fed_s >= every_s:
            self._fed_s = now
            self._notifier.send(WATCHDOG=1)

    def _extend(self) -> None:
        now = self._monotonic()
        if now - self._extended_s >= EXTEND_EVERY_S:
            self._extended_s = now
            self._notifier.send(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * MICROSECONDS))

    def _tell_status(self) -> None:
        text = str(self.status)
        if text != self._told and self._notifier.send(STATUS=text):
            self._told = text


def _is_movement(event: object) -> bool:
    """
    Whether a meeting went on: its stage, its progress, its end, or another try to hand it over. Heartbeats and claims
    go on beside a meeting that stands still, and show nothing.
    """
    if isinstance(event, events.StoreUnavailable):
        return event.call in ("complete", "fail", "release")
    return isinstance(event, events.MeetingEvent)
