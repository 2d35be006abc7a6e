"""The ladder over meetings: begun where memory last sufficed, measured anew each time, own memory counted as free."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.engine.measured_plans import GpuReading, MeasuredPlans
from worker.engine.planner import Wishes
from worker.engine.rung_memory import RungMemory, rung_of
from worker.models import EnginePlan, GpuState

GIB = 1024**3
HOUR_S = 3000.0


class Gpu:
    """One whose memory a test takes and gives."""

    def __init__(self, *, total_gib: float = 8, has_own: bool = True) -> None:
        self.total_gib, self.free_gib, self.has_own = total_gib, total_gib, has_own
        self.answers = True

    def __call__(self) -> GpuReading | None:
        if not self.answers:
            return None
        state = GpuState(
            name="NVIDIA X",
            uuid="GPU-1",
            driver="570.1",
            total_bytes=int(self.total_gib * GIB),
            free_bytes=int(self.free_gib * GIB),
            compute_capability=(8, 6),
        )
        return GpuReading(state, has_own=self.has_own)


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


EVERYTHING = frozenset({"large-v3", "turbo", "small", "base"})


def plans_with(
    gpu: Gpu, folder: Path, *, here: frozenset[str] = EVERYTHING, hub: Callable[[], bool] = lambda: True
) -> MeasuredPlans:
    return MeasuredPlans(
        read_gpu=gpu,
        num_threads=4,
        ram_bytes=16 * GIB,
        wishes=Wishes(),
        memory=RungMemory(folder),
        at_hand=lambda: here,
        is_hub_reachable=hub,
    )


def first(plans: MeasuredPlans, audio_s: float = HOUR_S) -> EnginePlan:
    return plans.rungs(audio_s)[0]


def test_the_next_meeting_begins_below_what_failed(gpu: Gpu, tmp_path: Path) -> None:
    """In this process and after a restart."""
    plans = plans_with(gpu, tmp_path)
    rungs = plans.rungs(HOUR_S)
    plans.failed(rungs[0], HOUR_S)
    plans.failed(rungs[1], HOUR_S)
    plans.worked(rungs[2], HOUR_S)
    assert rung_of(first(plans)) == rung_of(rungs[2])
    assert rung_of(first(plans_with(gpu, tmp_path))) == rung_of(rungs[2])
    assert rung_of(first(plans, 800.0)) == rung_of(rungs[0]), "a short recording is another matter"


def test_a_lower_model_or_format_is_said_to_be_a_makeshift_and_a_smaller_batch_is_not(gpu: Gpu, tmp_path: Path) -> None:
    plans = plans_with(gpu, tmp_path)
    rungs = plans.rungs(HOUR_S)
    assert not rungs[0].is_makeshift
    plans.failed(rungs[0], HOUR_S)
    assert (first(plans).model, first(plans).compute_type) == (rungs[0].model, rungs[0].compute_type)
    assert not first(plans).is_makeshift
    for rung in rungs[1:-1]:
        plans.failed(rung, HOUR_S)
    assert first(plans).model != rungs[0].model
    assert first(plans).is_makeshift
    assert "lately" in first(plans).reasons[-1]


@pytest.mark.parametrize("model", ["auto", "large", "turbo", "/models/mine", "owner/some-whisper"])
@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_model_that_was_asked_for_is_no_makeshift(tmp_path: Path, model: str, has_gpu: bool) -> None:
    gpu = Gpu(total_gib=24)
    gpu.answers = has_gpu
    plans = MeasuredPlans(
        read_gpu=gpu,
        num_threads=4,
        ram_bytes=16 * GIB,
        wishes=Wishes(model=model),
        memory=RungMemory(tmp_path),
        at_hand=lambda: EVERYTHING,
        is_hub_reachable=lambda: True,
    )
    assert not first(plans).is_makeshift


def test_a_squeeze_that_leaves_no_room_for_the_model_makes_a_makeshift(tmp_path: Path) -> None:
    gpu = Gpu(total_gib=12)
    gpu.free_gib = 4
    plan = first(plans_with(gpu, tmp_path))
    assert (plan.model == "large-v3", plan.is_makeshift) == (False, True)


def test_when_the_last_rung_fails_it_is_tried_again_alone(gpu: Gpu, tmp_path: Path) -> None:
    plans = plans_with(gpu, tmp_path)
    rungs = plans.rungs(HOUR_S)
    for rung in rungs:
        plans.failed(rung, HOUR_S)
    assert [rung_of(rung) for rung in plans.rungs(HOUR_S)] == [rung_of(rungs[-1])]


def test_a_process_that_dies_twice_on_a_rung_is_begun_below_it(gpu: Gpu, tmp_path: Path) -> None:
    """The supervisor sees the death; the mark in the file tells what it was at."""
    supervisor = RungMemory(tmp_path)
    top = rung_of(first(plans_with(gpu, tmp_path)))
    supervisor.died(os.getpid())
    assert rung_of(first(plans_with(gpu, tmp_path))) == top
    supervisor.died(os.getpid())
    assert rung_of(first(plans_with(gpu, tmp_path))) != top


def test_a_death_on_a_lower_rung_is_counted_against_that_one(gpu: Gpu, tmp_path: Path) -> None:
    supervisor = RungMemory(tmp_path)
    for _ in range(2):
        plans = plans_with(gpu, tmp_path)
        rungs = plans.rungs(HOUR_S)
        if rungs[0].batch_size == 8:
            plans.failed(rungs[0], HOUR_S)
        supervisor.died(os.getpid())
    assert first(plans_with(gpu, tmp_path)).batch_size == 2


def test_memory_is_looked_at_before_each_meeting(gpu: Gpu, tmp_path: Path) -> None:
    plans = plans_with(gpu, tmp_path)
    assert first(plans).batch_size == 8
    gpu.free_gib = 4
    assert first(plans).compute_type == "int8_float16"
    gpu.free_gib = 8
    assert first(plans).compute_type == "float16"


def test_a_warm_model_does_not_push_itself_out(tmp_path: Path) -> None:
    """Where the driver cannot say what this process holds, what its plan takes counts as free."""
    gpu = Gpu(has_own=False)
    plans = plans_with(gpu, tmp_path)
    warm = first(plans)
    plans.worked(warm, HOUR_S)
    gpu.free_gib = 4.5
    assert rung_of(first(plans)) == rung_of(warm)
    gpu.has_own = True
    assert rung_of(first(plans)) != rung_of(warm)


def test_a_driver_that_falls_silent_changes_nothing(gpu: Gpu, tmp_path: Path) -> None:
    plans = plans_with(gpu, tmp_path)
    before = first(plans)
    gpu.answers = False
    assert first(plans) == before
    assert first(plans_with(gpu, tmp_path)).device == "cpu", "but who never saw a GPU uses none"


def test_a_preview_begins_nothing(gpu: Gpu, tmp_path: Path) -> None:
    """Doctor asks while a worker works."""
    plans_with(gpu, tmp_path).preview(HOUR_S)
    assert list(tmp_path.iterdir()) == []


def test_the_hub_is_asked_once_and_only_when_something_else_is_here(gpu: Gpu, tmp_path: Path) -> None:
    """Then what is here is taken, if the hub does not answer."""
    asked: list[bool] = []

    def nobody() -> bool:
        asked.append(True)
        return False

    assert first(plans_with(gpu, tmp_path, hub=nobody)).model == "turbo"
    assert first(plans_with(gpu, tmp_path, here=frozenset(), hub=nobody)).model == "turbo"
    assert asked == []
    plans = plans_with(gpu, tmp_path, here=frozenset({"small"}), hub=nobody)
    assert [first(plans).model, first(plans).model] == ["small", "small"]
    assert asked == [True]
    assert first(plans_with(gpu, tmp_path, here=frozenset({"small"}))).model == "turbo", "fetched, as doctor says"
