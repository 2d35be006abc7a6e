"""One plan after the other, until the memory is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from worker.engine.plan import Plans
from worker.exceptions import GpuOutOfMemoryError, ModelUnavailableError, OutOfMemoryError, PCWorkerException
from worker.models import EnginePlan, ResultWarning, Stage

Result = TypeVar("Result")


def first_that_fits(
    plans: Plans,
    rungs: Sequence[EnginePlan],
    audio_s: float,
    attempt: Callable[[EnginePlan], Result],
    make_room: Callable[[EnginePlan], None],
) -> Result:
    """
    The result of the first plan with which the memory is enough; `plans` learns how each one went.

    Args:
        rungs: what `plans` offers for this length, at least one.
        attempt: computes with a plan; raises GpuOutOfMemoryError or OutOfMemoryError when it does not fit.
        make_room: frees what the plan that comes next does not need.

    Raises GpuOutOfMemoryError, OutOfMemoryError (the last plan's), and what else `attempt` raises. A smaller model that
    cannot be had is passed over.
    """
    short: PCWorkerException = GpuOutOfMemoryError()
    for number, plan in enumerate(rungs):
        if number:
            make_room(plan)
        try:
            result = attempt(plan)
        except (GpuOutOfMemoryError, OutOfMemoryError) as error:
            plans.failed(plan, audio_s)
            short = _without_frames(error)
        except ModelUnavailableError:
            if not number:
                raise
        else:
            plans.worked(plan, audio_s)
            return result
    raise short


def _without_frames(error: PCWorkerException) -> PCWorkerException:
    """A traceback refers to frames, and they to the arrays that there was no room for."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def memory_short(asked: EnginePlan, used: EnginePlan) -> ResultWarning | None:
    """For people, when the result is not what was `asked` for, or less was asked for than the PC is meant to do."""
    if used == asked:
        return _makeshift(used) if used.is_makeshift else None
    return _gpu_memory_short(asked, used) if asked.device == "cuda" else _memory_short(asked, used)


def _makeshift(used: EnginePlan) -> ResultWarning:
    whose, code = ("GPU", "gpu_memory_short") if used.device == "cuda" else ("PC", "memory_short")
    return ResultWarning(
        code=code,
        message=f"The {whose}'s memory is short, or lately was: this was written with {_named(used)}, less than usual.",
        stage=Stage.TRANSCRIBE,
    )


def _gpu_memory_short(asked: EnginePlan, used: EnginePlan) -> ResultWarning:
    return ResultWarning(
        code="gpu_memory_short",
        message=f"The GPU had too little free memory for {_named(asked)}; this was written with {_named(used)}.",
        stage=Stage.TRANSCRIBE,
    )


def _memory_short(asked: EnginePlan, used: EnginePlan) -> ResultWarning:
    return ResultWarning(
        code="memory_short",
        message=f"The PC had too little free memory for {_named(asked)}; this was written with {_named(used)}.",
        stage=Stage.TRANSCRIBE,
    )


def _named(plan: EnginePlan) -> str:
    model = Path(plan.model).name
    return f"the model {model} ({plan.compute_type}, {plan.device}, batches of {plan.batch_size})"
