"""
What an error means for a meeting: report it, give the meeting back, or drop the work. Pure: no clock, no I/O.

How often a meeting may fail (3 failures, 2 crashes, 24 h of infrastructure trouble, 1 h of waiting for its audio) is
decided where it is counted, by the SQL function `worker_fail_v1`. Decided here: what to tell it, and when to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from worker.disk_errors import disk_error
from worker.exceptions import (
    Disposition,
    FailureKind,
    OutOfMemoryError,
    PCWorkerException,
    WorkerStoppedError,
)
from worker.models import Failure, Stage


@dataclass(frozen=True, slots=True)
class Fail:
    """Report the failure; the store decides whether the meeting is tried again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Release:
    """The worker stops, which is no failure: give the meeting back, so that its attempt is refunded."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The meeting is no longer ours: write nothing."""

    reason: str


Verdict = Fail | Release | Drop
"""Each is named after the call of the store that it leads to; `Drop` leads to none."""

_DELAYS_S: dict[FailureKind, tuple[float, float]] = {
    FailureKind.FAILURE: (60.0, 600.0),  # another worker may do better at once; the same one seldom
    FailureKind.CRASH: (60.0, 600.0),
    FailureKind.INFRASTRUCTURE: (120.0, 900.0),  # the calls themselves were repeated already
    FailureKind.WAITING: (30.0, 60.0),  # somebody is uploading and watches the dashboard
    FailureKind.PERMANENT: (0.0, 0.0),
}
"""For each kind the first and the longest upper bound of the wait. Infrastructure and waiting spend no attempt, so a
meeting that knows only these stays at the first bound."""

_STOPS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


def verdict_of(error: BaseException, *, stage: Stage | None, attempt: int, random: Random) -> Verdict:
    """
    What follows from an error that ended an attempt.

    Args:
        error: of our own tree or any other; of an exception group the leaf that binds most (a lost meeting before a
            stop, a stop before a failure, then the first).
        attempt: 1 for the first.

    An error from outside our tree is reported with the code `internal_error` and its general sentence: its own text is
    for the log, since it may hold paths, secrets or words of the transcript.
    """
    ours = _ours(min(_leaves(error), key=_rank))
    if ours.disposition is Disposition.LEASE_LOST:
        return Drop(ours.code)
    if ours.disposition is Disposition.STOP:
        return Release()
    first_s, most_s = _DELAYS_S[ours.counts_as]
    return Fail(
        Failure(
            kind=ours.counts_as,
            code=ours.code,
            message=str(ours),
            stage=stage,
            retry_in_s=backoff_s(attempt, random, first_s=first_s, most_s=most_s),
        )
    )


def backoff_s(attempt: int, random: Random, *, first_s: float, most_s: float) -> float:
    """
    How long to wait after an attempt (1 is the first): uniform in [0, min(most_s, first_s * 2 ** (attempt - 1))].

    Source: "full jitter", M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants
    compared there the one with the least work for a server that many clients come back to.
    """
    doublings = min(max(attempt - 1, 0), 64)  # 64 exceed every bound, and 2.0 ** 1100 would overflow
    return random.uniform(0.0, min(most_s, first_s * 2.0**doublings))


def _ours(error: BaseException) -> PCWorkerException:
    """The error in terms of our tree."""
    if isinstance(error, PCWorkerException):
        return error
    if isinstance(error, _STOPS):
        return WorkerStoppedError()
    if isinstance(error, MemoryError):
        return OutOfMemoryError()
    return disk_error(error) or PCWorkerException()


def _rank(error: BaseException) -> int:
    order = (Disposition.LEASE_LOST, Disposition.STOP)
    disposition = _ours(error).disposition
    return order.index(disposition) if disposition in order else len(order)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors within nested exception groups, in order; any other error is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
