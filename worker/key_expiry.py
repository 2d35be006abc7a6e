"""Somebody should hear of a key's end a month before it stops the fleet, not on the day it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from worker import events
from worker.ports import Clock, Observer
from worker.supabase_keys import SECONDS_PER_DAY, read_key

WARN_DAYS = 30
"""Time enough to mint a new token and carry it to each PC."""


def expiring(keys: Mapping[str, str], now: float) -> list[events.KeyExpiring]:
    """
    The keys that end within WARN_DAYS, or have ended.

    Args:
        keys: by the name of their setting.
        now: seconds since 1970.
    """
    facts = {variable: read_key(text) for variable, text in keys.items()}
    left = {variable: days for variable, found in facts.items() if (days := found.days_left(now)) is not None}
    return [
        events.KeyExpiring(variable, facts[variable].expires_on, math.floor(days))
        for variable, days in left.items()
        if days < WARN_DAYS
    ]


async def watch_expiry(
    keys: Mapping[str, str], observe: Observer, clock: Clock, wall_time: Callable[[], float]
) -> None:
    """Tells what is `expiring` now and once a day, until cancelled."""
    while True:
        for event in expiring(keys, wall_time()):
            observe(event)
        await clock.sleep(SECONDS_PER_DAY)
