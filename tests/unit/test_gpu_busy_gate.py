"""Who may have the GPU: the worker waits for other people's programs, never for its own."""

from __future__ import annotations

import pytest

from tests.support.queue_worlds import TurnedClock
from worker.adapters.gpu_busy_gate import CHECK_EVERY_S, GpuBusyGate

MB = 10**6


class Gpu:
    """What NVML tells, as a test wants it."""

    def __init__(self) -> None:
        self.listed: dict[int, int | None] | None = {}
        self.used: int | None = 300 * MB
        self.own_pids: set[int] = set()
        self.own_bytes = 0
        self.num_looks = 0

    def processes(self) -> dict[int, int | None] | None:
        self.num_looks += 1
        return self.listed


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def gate(gpu: Gpu, clock: TurnedClock) -> GpuBusyGate:
    return GpuBusyGate(
        limit_bytes=1000 * MB,
        processes=gpu.processes,
        own_pids=lambda: gpu.own_pids,
        used_bytes=lambda: gpu.used,
        own_bytes=lambda: gpu.own_bytes,
        clock=clock,
    )


def test_a_person_who_computes_closes_it_and_the_sentence_says_how_much(gate: GpuBusyGate, gpu: Gpu) -> None:
    gpu.listed = {4711: 2500 * MB, 1: 100 * MB}
    found = gate.trouble()
    assert found is not None
    assert found.code == "gpu_taken"
    assert "2,600 MB" in found.sentence
    assert "GPU_BUSY_MB" in found.sentence


def test_a_desktop_below_the_limit_does_not(gate: GpuBusyGate, gpu: Gpu) -> None:
    gpu.listed = {1: 900 * MB}
    assert gate.trouble() is None


def test_the_workers_own_models_do_not(gate: GpuBusyGate, gpu: Gpu) -> None:
    gpu.listed, gpu.own_pids = {100: 6000 * MB, 1: 200 * MB}, {100}
    assert gate.trouble() is None


@pytest.mark.parametrize("listed", [None, {}, {90001: 6000 * MB, 90002: 1000 * MB}, {100: None}])
def test_where_processes_cannot_be_told_apart_its_own_last_reading_is_taken_off(
    gate: GpuBusyGate, gpu: Gpu, listed: dict[int, int | None] | None
) -> None:
    """In a container NVML counts processes by the host's numbers, or lists none."""
    gpu.listed, gpu.own_pids, gpu.own_bytes = listed, {100}, 6000 * MB
    gpu.used = 6500 * MB
    assert gate.others_bytes() == 500 * MB
    gpu.used = 8000 * MB
    assert gate.trouble() is not None


def test_nobody_who_can_tell_is_no_reason_to_wait(gate: GpuBusyGate, gpu: Gpu) -> None:
    gpu.listed, gpu.used = None, None
    assert gate.trouble() is None


def test_it_is_looked_at_now_and_then_and_opens_by_itself(gate: GpuBusyGate, gpu: Gpu, clock: TurnedClock) -> None:
    gpu.listed = {4711: 2500 * MB}
    assert gate.trouble() is not None
    gpu.listed = {}
    assert gate.trouble() is not None
    assert gpu.num_looks == 1
    clock.at_s += CHECK_EVERY_S
    gate.trouble()
    gate.wait()
    assert gate.trouble() is None
    assert gpu.num_looks == 2
