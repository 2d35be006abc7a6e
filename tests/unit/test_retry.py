"""What follows from an error: a failure that is reported, a meeting given back, or work dropped."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import exceptions
from worker.exceptions import Disposition, FailureKind, PCWorkerException
from worker.models import Failure, Stage
from worker.retry import Drop, Fail, Release, Verdict, backoff_s, verdict_of


def verdict(error: BaseException, *, attempt: int = 1, seed: int = 0) -> Verdict:
    return verdict_of(error, stage=Stage.DIARIZE, attempt=attempt, random=Random(seed))


def failure(error: BaseException) -> Failure:
    answer = verdict(error)
    assert isinstance(answer, Fail), answer
    return answer.failure


@pytest.mark.parametrize("cls", list(exceptions.all_errors()), ids=lambda cls: cls.__name__)
def test_every_error_of_the_tree_has_the_verdict_of_its_disposition(cls: type[PCWorkerException]) -> None:
    answer = verdict(cls())
    match cls.disposition:
        case Disposition.LEASE_LOST:
            assert answer == Drop(cls.code)
        case Disposition.STOP:
            assert answer == Release()
        case _:
            assert isinstance(answer, Fail)
            assert answer.failure.kind is cls.counts_as
            assert answer.failure.code == cls.code
            assert answer.failure.stage is Stage.DIARIZE


def test_what_an_error_of_ours_says_reaches_people() -> None:
    assert failure(exceptions.AudioTooBigError("The recording has 3 GB; 2 GB are allowed.")).message == (
        "The recording has 3 GB; 2 GB are allowed."
    )


def test_the_text_of_a_foreign_error_reaches_nobody() -> None:
    """It may hold a path, a key or what was said; people read the general sentence."""
    answer = failure(RuntimeError("/home/lab/temp_audio/x.wav: token sb_secret_123 refused"))
    assert (answer.kind, answer.code) == (FailureKind.FAILURE, "internal_error")
    assert answer.message == PCWorkerException.default_message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_the_meetings_fault(number: int) -> None:
    answer = failure(OSError(number, "No space left on device", "/home/lab/x"))
    assert (answer.kind, answer.code) == (FailureKind.INFRASTRUCTURE, "disk_full")


def test_another_operating_system_error_is_an_internal_one() -> None:
    assert failure(PermissionError(errno.EACCES, "Permission denied")).code == "internal_error"


def test_too_little_memory_has_a_code_of_its_own() -> None:
    assert failure(MemoryError()).code == "out_of_memory"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(0)])
def test_a_stop_is_not_a_failure(error: BaseException) -> None:
    assert verdict(error) == Release()


def test_of_several_errors_at_once_the_one_that_binds_most_counts() -> None:
    crash, stop, lost = exceptions.ChildCrashedError(), asyncio.CancelledError(), exceptions.MeetingGoneError()
    assert verdict(BaseExceptionGroup("", [crash, BaseExceptionGroup("", [stop, lost])])) == Drop("meeting_gone")
    assert verdict(BaseExceptionGroup("", [crash, stop])) == Release()
    assert failure(ExceptionGroup("", [crash, ValueError()])).code == "engine_crashed"


def test_what_cannot_be_helped_is_not_waited_for() -> None:
    assert failure(exceptions.AudioEmptyError()).retry_in_s == 0.0


def test_the_same_random_gives_the_same_wait() -> None:
    assert verdict(RuntimeError(), attempt=2, seed=7) == verdict(RuntimeError(), attempt=2, seed=7)
    assert verdict(RuntimeError(), attempt=2, seed=7) != verdict(RuntimeError(), attempt=2, seed=8)


@given(attempt=st.integers(-3, 100_000), seed=st.integers())
def test_a_wait_is_never_negative_and_never_above_its_bound(attempt: int, seed: int) -> None:
    assert 0.0 <= backoff_s(attempt, Random(seed), first_s=2.0, most_s=60.0) <= 60.0


def test_the_bound_doubles_until_the_longest() -> None:
    """Of a thousand waits the longest comes near the bound, and none exceeds it: 2, 4, 8, then 10 for ever."""
    for attempt, bound_s in ((1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (50, 10.0)):
        waits_s = [backoff_s(attempt, Random(seed), first_s=2.0, most_s=10.0) for seed in range(1000)]
        assert 0.95 * bound_s < max(waits_s) <= bound_s
        assert min(waits_s) < 0.05 * bound_s
