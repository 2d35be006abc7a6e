"""GPU memory that does not come back after a meeting is a reason for a new process; a warm model is none."""

from __future__ import annotations

import pytest

from worker.adapters.vram_watermark import LAST_OF_A_MEETING, NUM_FIRST, SLACK_BYTES, VramWatermark

GB = 10**9


class Gpu:
    """How much the process holds."""

    def __init__(self) -> None:
        self.held_bytes: int | None = 4 * GB

    def of(self, pid: int) -> int | None:
        assert pid > 0
        return self.held_bytes


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def watermark(gpu: Gpu) -> VramWatermark:
    return VramWatermark(gpu.of)


def meetings(watermark: VramWatermark, number: int, pid: int = 7) -> list[bool]:
    return [watermark.is_swollen(pid, LAST_OF_A_MEETING) for _ in range(number)]


def test_a_level_that_stays_is_none(watermark: VramWatermark) -> None:
    assert meetings(watermark, 50) == [False] * 50


def test_growth_over_the_first_meetings_level_is(watermark: VramWatermark, gpu: Gpu) -> None:
    meetings(watermark, NUM_FIRST)
    gpu.held_bytes = int(4.4 * GB) + SLACK_BYTES
    assert meetings(watermark, 1) == [False]
    gpu.held_bytes += GB
    assert meetings(watermark, 1) == [True]


def test_slow_growth_is_seen_too(watermark: VramWatermark, gpu: Gpu) -> None:
    """The level is that of the first meetings, not of the last one."""
    seen = []
    for number in range(50):
        gpu.held_bytes = 4 * GB + number * 50_000_000
        seen += meetings(watermark, 1)
    assert True in seen


def test_a_new_process_has_a_level_of_its_own(watermark: VramWatermark, gpu: Gpu) -> None:
    meetings(watermark, NUM_FIRST)
    gpu.held_bytes = 8 * GB
    assert meetings(watermark, 10, pid=8) == [False] * 10


def test_within_a_meeting_nothing_is_asked(watermark: VramWatermark, gpu: Gpu) -> None:
    meetings(watermark, NUM_FIRST)
    gpu.held_bytes = 20 * GB
    assert not watermark.is_swollen(7, "transcriber.transcribe")


def test_a_driver_that_does_not_tell_is_no_reason(watermark: VramWatermark, gpu: Gpu) -> None:
    meetings(watermark, NUM_FIRST)
    gpu.held_bytes = None
    assert meetings(watermark, 3) == [False] * 3
