"""The gate that closes while a disk is nearly full, on real file systems."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.queue_worlds import TurnedClock
from worker.adapters import disk_gate
from worker.adapters.disk_gate import CHECK_EVERY_S, OPENS_AT, DiskGate

MORE_THAN_THERE_IS = 2**60


class Disk:
    """How much `shutil.disk_usage` finds free: nobody can fill a disk to the byte in a test."""

    def __init__(self) -> None:
        self.free_bytes = 10_000
        self.num_looks = 0

    def usage(self, folder: Path) -> object:
        self.num_looks += 1
        assert folder.is_dir()
        return SimpleNamespace(free=self.free_bytes)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(disk_gate, "disk_usage", disk.usage)
    return disk


def test_a_real_disk_with_room_is_no_trouble(tmp_path: Path, clock: TurnedClock) -> None:
    assert DiskGate({"AUDIO_TEMP_DIR": (tmp_path, 1)}, clock).trouble() is None


def test_a_real_disk_without_room_closes_it_and_says_what_to_do(tmp_path: Path, clock: TurnedClock) -> None:
    trouble = DiskGate({"AUDIO_TEMP_DIR": (tmp_path, MORE_THAN_THERE_IS)}, clock).trouble()
    assert trouble is not None
    assert trouble.code == "disk_full"
    assert "AUDIO_TEMP_DIR" in trouble.sentence
    assert "MIN_FREE_DISK_BYTES" in trouble.sentence
    assert str(tmp_path) not in trouble.sentence


def test_a_folder_that_is_not_made_yet_is_looked_for_where_it_will_be(tmp_path: Path, clock: TurnedClock) -> None:
    gate = DiskGate({"AUDIO_TEMP_DIR": (tmp_path / "a" / "b", MORE_THAN_THERE_IS)}, clock)
    assert gate.trouble() is not None


def test_zero_means_never_mind(tmp_path: Path, clock: TurnedClock, disk: Disk) -> None:
    disk.free_bytes = 0
    assert DiskGate({"AUDIO_TEMP_DIR": (tmp_path, 0)}, clock).trouble() is None


def test_it_opens_by_itself_and_only_with_some_room_to_spare(tmp_path: Path, clock: TurnedClock, disk: Disk) -> None:
    gate = DiskGate({"AUDIO_TEMP_DIR": (tmp_path, 1000)}, clock)
    is_closed = []
    for free_bytes in (1000, 999, 1000, int(1000 * OPENS_AT) - 1, int(1000 * OPENS_AT), 1000, 999):
        disk.free_bytes = free_bytes
        is_closed.append(gate.trouble() is not None)
        clock.at_s += CHECK_EVERY_S
    assert is_closed == [False, True, True, True, False, False, True]


def test_the_disk_is_looked_at_every_few_seconds_however_often_it_is_asked(
    tmp_path: Path, clock: TurnedClock, disk: Disk
) -> None:
    gate = DiskGate({"AUDIO_TEMP_DIR": (tmp_path, 1)}, clock)
    for _ in range(20):
        gate.trouble()
    assert disk.num_looks == 1
    clock.at_s += CHECK_EVERY_S
    gate.trouble()
    assert disk.num_looks == 2


def test_a_disk_that_cannot_be_asked_is_no_reason_to_stop(
    tmp_path: Path, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_folder: Path) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk_gate, "disk_usage", gone)
    assert DiskGate({"AUDIO_TEMP_DIR": (tmp_path, MORE_THAN_THERE_IS)}, clock).trouble() is None


def test_the_smallest_disk_decides(tmp_path: Path, clock: TurnedClock) -> None:
    gate = DiskGate({"AUDIO_TEMP_DIR": (tmp_path, 1), "LOG_DIR": (tmp_path, MORE_THAN_THERE_IS)}, clock)
    trouble = gate.trouble()
    assert trouble is not None
    assert "LOG_DIR" in trouble.sentence
