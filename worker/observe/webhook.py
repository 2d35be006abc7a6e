"""Tells a Slack-compatible webhook what Notices finds worth telling. A webhook that fails is a warning, never more."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from worker import events
from worker.observe.notices import Notices
from worker.ports import Clock

if TYPE_CHECKING:
    from aiohttp import ClientSession

logger = logging.getLogger("worker")

PAUSES_S = (2.0, 10.0, 60.0)
"""Between the attempts to say one thing."""

LOOK_AT_LEAST_EVERY_S = 900.0
"""The day's line follows the wall clock, which may be set, or stand still in a suspended PC."""


class _NotHeard(Exception):
    def __init__(self, problem: str, *, may_repeat: bool = True) -> None:
        super().__init__(problem)
        self.may_repeat = may_repeat


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, and a stopping worker may go on telling."""

    timeout_s: float = 10.0
    goodbye_s: float = 5.0


@dataclass
class Webhook:
    """
    An Observer; `run` does the telling. `url` is a secret and is never logged.

    `local_time` gives the wall clock, `clock` everything else.
    """

    url: str
    notices: Notices
    clock: Clock
    local_time: Callable[[], datetime]
    patience: Patience = Patience()
    _wake: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _is_failing: bool = False

    def __call__(self, event: object) -> None:
        self.notices(event)
        if isinstance(event, events.TroubleBegan | events.TroubleEnded):
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Raises nothing else."""
        async with self._session() as session:
            try:
                while True:
                    self._wake.clear()
                    await self._say_due(session)
                    await self._until_due()
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.patience.goodbye_s):
                        await self._say_due(session)

    async def _say_due(self, session: ClientSession) -> None:
        for text in self.notices.take_due(self.clock.monotonic(), self.local_time()):
            await self._say(session, text)

    async def _until_due(self) -> None:
        due_in_s = self.notices.due_in_s(self.clock.monotonic(), self.local_time())
        woken = asyncio.create_task(self._wake.wait())
        slept = asyncio.create_task(self.clock.sleep(min(due_in_s, LOOK_AT_LEAST_EVERY_S)))
        try:
            await asyncio.wait([woken, slept], return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    async def _say(self, session: ClientSession, text: str) -> None:
        """Once, or a few times until it is heard."""
        for pause_s in (*PAUSES_S, None):
            try:
                await self._post(session, text)
            except _NotHeard as problem:
                if pause_s is None or not problem.may_repeat:
                    self._warn(problem)
                    return
                await self.clock.sleep(pause_s)
            else:
                self._is_failing = False
                return

    async def _post(self, session: ClientSession, text: str) -> None:
        import aiohttp

        body = {"text": html.escape(text, quote=False)}  # & < > and no more, as Slack asks
        try:
            async with session.post(self.url, json=body, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    is_busy = response.status == 429 or response.status >= 500
                    raise _NotHeard(f"HTTP {response.status}", may_repeat=is_busy)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _NotHeard(type(error).__name__) from None  # its text holds the address

    def _warn(self, problem: _NotHeard) -> None:
        """Once, until it works again."""
        if not self._is_failing:
            reason = "NOTIFY_WEBHOOK_URL was not told; the worker goes on. Check that the webhook still exists."
            logger.warning("webhook_failed", extra={"fields": {"problem": str(problem), "reason": reason}})
        self._is_failing = True

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ClientSession]:
        """Honours HTTPS_PROXY, which in some labs is the only way out."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self.patience.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            yield session
