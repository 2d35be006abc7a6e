"""Before a key ends somebody hears of it: a month ahead, once a day, and louder on the last one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.project_keys import PUBLISHABLE_KEY, WORKER_ROLE, token
from worker.events import KeyExpiring
from worker.key_expiry import expiring, watch_expiry
from worker.observe.event_log import EventLog
from worker.observe.logs import configure_logging
from worker.supabase_keys import SECONDS_PER_DAY

NOW = time.time()


def worker_token(days: float) -> dict[str, str]:
    """With an hour to spare, so that whole days are what they say."""
    return {"SUPABASE_WORKER_TOKEN": token(WORKER_ROLE, expires_in_s=days * SECONDS_PER_DAY + 3600)}


@pytest.mark.parametrize(
    ("days", "told"), [(300, []), (30, []), (29, [29]), (1, [1]), (0.7, [0]), (0, [0]), (-1, [-1]), (-400, [-400])]
)
def test_what_ends_within_a_month_is_told_with_the_days_left(days: float, told: list[int]) -> None:
    assert [event.days_left for event in expiring(worker_token(days), NOW)] == told


def test_what_does_not_end_is_not_told() -> None:
    assert expiring({"SUPABASE_KEY": PUBLISHABLE_KEY}, NOW) == []


def test_each_key_is_told_by_the_name_of_its_setting() -> None:
    keys = {"SUPABASE_KEY": token("anon", expires_in_s=SECONDS_PER_DAY), **worker_token(5)}
    assert [event.variable for event in expiring(keys, NOW)] == ["SUPABASE_KEY", "SUPABASE_WORKER_TOKEN"]


class Calendar:
    """A clock on which each sleep takes its time at once; it stops after `days`."""

    def __init__(self, days: int) -> None:
        self.slept_s = 0.0
        self._days = days

    def monotonic(self) -> float:
        return self.slept_s

    def wall_time(self) -> float:
        return NOW + self.slept_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        if self.slept_s >= self._days * SECONDS_PER_DAY:
            raise asyncio.CancelledError


async def test_it_is_told_at_the_start_and_once_a_day_until_the_end_and_after_it() -> None:
    calendar, told = Calendar(days=33), list[object]()

    def observe(event: object) -> None:
        told.append(event)

    with pytest.raises(asyncio.CancelledError):
        await watch_expiry(worker_token(31), observe, calendar, calendar.wall_time)
    assert [event.days_left for event in told if isinstance(event, KeyExpiring)] == [*range(29, -2, -1)]


def test_the_log_warns_and_on_the_last_day_reports_an_error(tmp_path: Path) -> None:
    with configure_logging(log_dir=tmp_path, level="INFO", format="text", secrets=(), worker_id="w", console=False):
        for days_left in (12, 0):
            EventLog()(KeyExpiring("SUPABASE_WORKER_TOKEN", "2026-12-31", days_left))
    lines = [line for line in (tmp_path / "pc_worker.log").read_text().splitlines() if "key_expiring" in line]
    assert [("WARNING" in line, "ERROR" in line) for line in lines] == [(True, False), (False, True)]
    assert all("expires_on=2026-12-31" in line for line in lines)
    assert "variable=SUPABASE_WORKER_TOKEN" in lines[0]
