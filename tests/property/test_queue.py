"""The queue under every order of events that a minute of searching finds, and under real concurrency."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.queue_machine import QueueMachine
from tests.support.queue_worlds import PostgresWorld


@pytest.mark.timeout(1800)  # when it finds something it looks for the shortest way there
def test_no_order_of_events_breaks_the_queue(queue_dsn: str, search: settings) -> None:
    """
    One live token per job; a result is that of the completing token; completed is left only by retry; attempts stay
    within their limits; the history matches; nothing is half-written; Postgres and the memory twin agree.
    """
    with asyncio.Runner() as runner:
        world = PostgresWorld(queue_dsn)

        class Machine(QueueMachine):
            def __init__(self) -> None:
                super().__init__(world, runner)

        try:
            run_state_machine_as_test(Machine, settings=search)
        finally:
            runner.run(world.close())
