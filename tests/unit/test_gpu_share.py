"""What our children hold of a GPU's memory, on a plain PC and in a container."""

from __future__ import annotations

import os

import pytest

from worker.adapters.gpu_share import GpuShare

MB = 10**6
OURS = os.getpid()
HOSTS = 2**30
"""No process here has such a number: more than pid_max can be."""


class Gpu:
    def __init__(self) -> None:
        self.listed: dict[int, int | None] | None = {}
        self.used: int | None = 300 * MB


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def share(gpu: Gpu) -> GpuShare:
    return GpuShare(lambda: gpu.listed, lambda: gpu.used)


def test_what_the_driver_says_counts(share: GpuShare, gpu: Gpu) -> None:
    gpu.listed = {OURS: 4000 * MB, 1: 100 * MB}
    assert share.of(OURS) == 4000 * MB
    assert share.last_bytes({OURS}) == 4000 * MB
    assert share.last_bytes(()) == 0


def test_a_child_that_the_driver_does_not_list_among_our_processes_holds_nothing(share: GpuShare, gpu: Gpu) -> None:
    """It computes on the CPU; what others take is not its own."""
    gpu.listed = {1: 100 * MB}
    assert share.of(OURS) == 0
    gpu.used = 9000 * MB
    assert share.of(OURS) == 0


@pytest.mark.parametrize("listed", [None, {}, {HOSTS: 5000 * MB}, {OURS: None}])
def test_in_a_container_it_is_what_was_added_since_the_child_came(
    share: GpuShare, gpu: Gpu, listed: dict[int, int | None] | None
) -> None:
    gpu.listed = listed
    assert share.of(OURS) == 0
    gpu.used = 4300 * MB
    assert share.of(OURS) == 4000 * MB
    gpu.used = 100 * MB
    assert share.of(OURS) == 0


def test_without_an_answer_nobody_can_tell(share: GpuShare, gpu: Gpu) -> None:
    gpu.listed, gpu.used = None, None
    assert share.of(OURS) is None
