"""How long the search goes on: HYPOTHESIS_PROFILE=long for `make test-all`, else a fixed minute for `make test`."""

from __future__ import annotations

import os

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
settings.register_profile("quick", COMMON, max_examples=200, stateful_step_count=50, derandomize=True)
settings.register_profile("long", COMMON, max_examples=1500, stateful_step_count=80, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
