"""Who is who under every order of decisions and undoing that a search finds: what is kept up to date is true."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.conftest import COMMON
from tests.property.ledger_machine import LedgerMachine
from tests.property.ledger_snapshot import postgres_ledger
from tests.support.queue_worlds import PostgresWorld

GLANCE = settings(COMMON, max_examples=15, stateful_step_count=30, derandomize=True)
"""A few seconds of the same search each time."""
SEARCH = settings(COMMON, max_examples=250, stateful_step_count=40, derandomize=True)
LONG_SEARCH = settings(COMMON, max_examples=600, stateful_step_count=60, derandomize=False)


def search_for_a_lie(dsn: str, search: settings) -> None:
    """In what Postgres keeps up to date, against the twin that computes it from scratch."""
    with asyncio.Runner() as runner:
        world = PostgresWorld(dsn)

        class Machine(LedgerMachine):
            def __init__(self) -> None:
                world.empty()
                super().__init__(world, lambda: postgres_ledger(world), runner)

        try:
            run_state_machine_as_test(Machine, settings=search)
        finally:
            runner.run(world.close())


def test_every_column_says_what_the_decisions_say(queue_dsn: str) -> None:
    """
    Names, labels, suggestions, voiceprints, means, meetings and consent equal what the facts say, after each of
    complete, name, merge, split, confirm, reject, undo in any order, forget, opt out and in, and deletions.
    """
    search_for_a_lie(queue_dsn, GLANCE)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # when it finds something it looks for the shortest way there
def test_every_column_says_what_the_decisions_say_for_a_minute(queue_dsn: str) -> None:
    """The same with more of it; HYPOTHESIS_PROFILE=long (`make test-all`): minutes, and new ones."""
    search_for_a_lie(queue_dsn, LONG_SEARCH if os.environ.get("HYPOTHESIS_PROFILE") == "long" else SEARCH)
