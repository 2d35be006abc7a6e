"""
How long a server asks to be left alone before the next try: the header Retry-After.

Only its form in seconds counts (RFC 9110, 10.2.3): a date would need two clocks that agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.wait import wait_base

RETRY_AFTER = "retry_after_s"
"""Under which an error's details hold it."""


def asked_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """For the details of an error; empty where nothing was asked for."""
    text = headers.get("Retry-After", "").strip()
    return {RETRY_AFTER: float(text)} if text.isascii() and text.isdecimal() else {}


def at_least_as_asked(own: wait_base, *, most_s: float) -> Callable[[RetryCallState], float]:
    """A wait for tenacity: our own pause, or the longer one that was asked for, up to `most_s`."""

    def pause_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        details = getattr(getattr(error, "ours", error), "details", {})  # `ours`: of storage_errors.Passing
        return max(own(state), min(float(details.get(RETRY_AFTER, 0.0)), most_s))

    return pause_s
