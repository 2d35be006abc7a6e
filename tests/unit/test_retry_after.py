"""A server that says when to come back is listened to, within reason."""

from __future__ import annotations

import httpx
import pytest
from tenacity import AsyncRetrying, RetryCallState, wait_fixed
from tenacity import Future as Outcome

from worker.adapters.retry_after import asked_of, at_least_as_asked
from worker.adapters.storage_errors import Passing
from worker.adapters.supabase_errors import of_answer
from worker.exceptions import SupabaseConnectionError, SupabaseStorageError


def pause_after(error: Exception) -> float:
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.outcome = Outcome(1)
    state.outcome.set_exception(error)
    return at_least_as_asked(wait_fixed(1.0), most_s=5.0)(state)


@pytest.mark.parametrize(("asked", "pause_s"), [("3", 3.0), ("0", 1.0), ("3600", 5.0), (" 4 ", 4.0)])
def test_the_pause_is_the_longer_one_up_to_a_limit(asked: str, pause_s: float) -> None:
    """A gateway that asks for an hour would cost the lease."""
    answer = httpx.Response(429, headers={"Retry-After": asked})
    assert pause_after(of_answer(answer)) == pause_s
    ours = SupabaseStorageError(**asked_of(answer.headers))
    assert pause_after(Passing(ours)) == pause_s


@pytest.mark.parametrize("said", ["Fri, 01 Jan 2027 00:00:00 GMT", "-1", "soon", "1e9", "", "²"])
def test_what_is_no_number_of_seconds_asks_for_nothing(said: str) -> None:
    assert asked_of({"Retry-After": said}) == {}


def test_an_error_that_was_no_answer_has_our_own_pause() -> None:
    assert pause_after(SupabaseConnectionError()) == 1.0
    assert pause_after(TimeoutError()) == 1.0
