"""The queue's database, and how long the search goes on."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.contract.conftest import queue_dsn, server_dsn

__all__ = ["queue_dsn", "server_dsn"]

COMMON = settings(
    deadline=None,  # a database on a busy machine
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    database=None,
    report_multiple_bugs=False,
)
SEARCHES = {
    "quick": settings(COMMON, max_examples=80, stateful_step_count=50, derandomize=True),
    "long": settings(COMMON, max_examples=1000, stateful_step_count=100, derandomize=False),
}


@pytest.fixture
def search() -> settings:
    """The same minute of search each time; HYPOTHESIS_PROFILE=long (`make test-all`): minutes, and new ones."""
    return SEARCHES[os.environ.get("HYPOTHESIS_PROFILE", "quick")]
