"""How long a stage may work, however lively: its silence is watched elsewhere, this ends what reports for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from worker.exceptions import DeadlineExceededError
from worker.ports import Report

T = TypeVar("T")


@asynccontextmanager
async def ended_at(when_s: float | None) -> AsyncIterator[asyncio.Timeout]:
    """asyncio.timeout_at whose error says what happened. `when_s`: on the loop's clock; None: not yet known."""
    timeout = asyncio.timeout_at(when_s)
    try:
        async with timeout:
            yield timeout
    except TimeoutError:
        if timeout.expired():
            raise DeadlineExceededError from None
        raise


async def ended_after(seconds: float, work: Callable[[Report], Awaitable[T]], report: Report) -> T:
    """`work`, which may take so long from its first report on: before, it waits for a process that others use too."""
    loop, is_over = asyncio.get_running_loop(), False
    async with ended_at(None) as timeout:

        def noted(progress: float) -> None:
            if timeout.when() is None and not is_over:
                timeout.reschedule(loop.time() + seconds)
            report(progress)

        try:
            return await work(noted)
        finally:
            is_over = True
