"""The ladder: what is tried after memory ran out, and who learns of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from worker.engine.rungs import first_that_fits, memory_short
from worker.exceptions import EngineError, GpuOutOfMemoryError, ModelUnavailableError, OutOfMemoryError
from worker.models import EnginePlan

LARGE = EnginePlan(model="large-v3", device="cuda", compute_type="float16", batch_size=16)
SMALLER_BATCH = LARGE.model_copy(update={"batch_size": 8})
SMALL = EnginePlan(model="small", device="cuda", compute_type="int8", batch_size=2)
CPU = SMALL.model_copy(update={"device": "cpu"})


class Diary:
    """Plans that write down what happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def rungs(self, audio_s: float) -> Sequence[EnginePlan]:
        raise AssertionError(f"the rungs for {audio_s} s are handed over, nobody asks for them again")

    def worked(self, plan: EnginePlan, audio_s: float) -> None:
        self.lines.append(f"worked {plan.model} {plan.batch_size}, {audio_s:g} s")

    def failed(self, plan: EnginePlan, audio_s: float) -> None:
        self.lines.append(f"failed {plan.model} {plan.batch_size}, {audio_s:g} s")


def climb(
    rungs: Sequence[EnginePlan], errors: dict[EnginePlan, Exception], room: Callable[[EnginePlan], None] | None = None
) -> tuple[EnginePlan | Exception, list[str]]:
    diary = Diary()

    def attempt(plan: EnginePlan) -> EnginePlan:
        diary.lines.append(f"try {plan.model} {plan.batch_size}")
        if plan in errors:
            raise errors[plan]
        return plan

    def make_room(plan: EnginePlan) -> None:
        diary.lines.append("make room")

    result: EnginePlan | Exception
    try:
        result = first_that_fits(diary, rungs, 60.0, attempt, room or make_room)
    except Exception as error:
        result = error
    return result, diary.lines


def test_what_fits_at_once_is_remembered() -> None:
    assert climb([LARGE, SMALL], {}) == (LARGE, ["try large-v3 16", "worked large-v3 16, 60 s"])


def test_a_failure_is_told_before_anything_else_is_done() -> None:
    """If the process dies while it makes room, the next one must not begin at the top again."""
    result, lines = climb(
        [LARGE, SMALLER_BATCH, SMALL], {LARGE: GpuOutOfMemoryError(), SMALLER_BATCH: OutOfMemoryError()}
    )
    assert result == SMALL
    assert lines == [
        *("try large-v3 16", "failed large-v3 16, 60 s", "make room"),
        *("try large-v3 8", "failed large-v3 8, 60 s", "make room"),
        *("try small 2", "worked small 2, 60 s"),
    ]


def test_the_last_error_is_raised_when_nothing_fits() -> None:
    last = GpuOutOfMemoryError("the last one", replace_child=True)
    result, lines = climb([LARGE, SMALL], {LARGE: GpuOutOfMemoryError(), SMALL: last})
    assert result is last
    assert lines[-1] == "failed small 2, 60 s"


def test_a_smaller_model_that_is_not_here_is_passed_over() -> None:
    result, lines = climb([LARGE, SMALL, CPU], {LARGE: GpuOutOfMemoryError(), SMALL: ModelUnavailableError()})
    assert result == CPU
    assert "failed small 2, 60 s" not in lines
    wanted = ModelUnavailableError()
    assert climb([LARGE, SMALL], {LARGE: wanted})[0] is wanted


def test_another_error_is_no_rung() -> None:
    broken = EngineError(reason="CUDA error: an illegal memory access was encountered", replace_child=True)
    assert climb([LARGE, SMALL], {LARGE: broken}) == (broken, ["try large-v3 16"])


def test_nothing_holds_what_there_was_no_room_for() -> None:
    """An exception refers to its frames, and they to the tensors."""
    error = GpuOutOfMemoryError()
    error.__cause__ = RuntimeError("CUDA out of memory")
    seen: list[object] = []
    climb([LARGE, SMALL], {LARGE: error}, room=lambda _: seen.extend([error.__traceback__, error.__cause__]))
    assert seen == [None, None]


def test_the_warning_names_what_was_asked_and_what_was_used() -> None:
    assert memory_short(LARGE, LARGE) is None
    on_gpu, on_cpu = memory_short(LARGE, SMALL), memory_short(CPU, CPU.model_copy(update={"model": "/models/tiny"}))
    assert on_gpu is not None
    assert on_cpu is not None
    assert (on_gpu.code, on_cpu.code) == ("gpu_memory_short", "memory_short")
    assert "large-v3 (float16" in on_gpu.message
    assert "small (int8" in on_gpu.message
    assert "/models" not in on_cpu.message, "where models lie is nobody's business"


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_warning_ends_as_a_sentence(device: str) -> None:
    asked = LARGE.model_copy(update={"device": device})
    warning = memory_short(asked, SMALL)
    assert warning is not None
    assert warning.message.endswith(".")


def test_a_meeting_that_begins_lower_than_the_pc_could_says_so_as_well() -> None:
    """What failed in an earlier meeting is remembered: without a word the texts would just be worse for a week."""
    warning = memory_short(
        LARGE.model_copy(update={"is_makeshift": True}), LARGE.model_copy(update={"is_makeshift": True})
    )
    assert warning is not None
    assert warning.code == "gpu_memory_short"
    assert "less than usual" in warning.message
