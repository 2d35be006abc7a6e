"""Calls to the database that must get through, however long it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from worker import events
from worker.exceptions import Disposition, PCWorkerException
from worker.ports import Observer
from worker.retry import backoff_s

T = TypeVar("T")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class StoreCalls:
    """
    `stopping` is set when the worker was told to stop, `leaving` when it must be gone: what has not got through then is
    left to the next start (results are on disk) or to the lease (which ends).
    """

    observe: Observer
    random: Random
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def repeat(
        self,
        name: str,
        call: Callable[[], Awaitable[T]],
        *,
        is_unwanted: Callable[[], bool] = bool,
        only_once: bool = False,
    ) -> T | None:
        """
        The answer; None when nobody wants it any more or the worker must leave.

        Errors that repeating cannot mend are raised, and with `only_once` all of them.
        """
        num_failed = 0
        while True:
            try:
                answer = await call()
            except PCWorkerException as error:
                if error.disposition is not Disposition.INFRASTRUCTURE or only_once:
                    raise
                num_failed += 1
                pause_s = backoff_s(num_failed, self.random, first_s=FIRST_PAUSE_S, most_s=LONGEST_PAUSE_S)
                self.observe(events.StoreUnavailable(name, error.code, pause_s, str(error)))
                if is_unwanted() or await self.left_within(pause_s) or is_unwanted():
                    return None
            else:
                if num_failed:
                    self.observe(events.StoreRecovered(name))
                return answer

    async def left_within(self, seconds: float) -> bool:
        """Sleep; True as soon as the worker must leave."""
        return await is_set_within(self.leaving, seconds)


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
