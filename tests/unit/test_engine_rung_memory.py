"""What a GPU's memory did not suffice for is known to the next meeting, in whatever process, and not for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.engine.rung_memory import FILE, FREED_BYTES, KEPT_S, RungMemory, band_of, rung_of
from worker.models import EnginePlan

PLAN = EnginePlan(model="turbo", device="cuda", compute_type="float16", batch_size=8)
OTHER = PLAN.model_copy(update={"batch_size": 4})
HOUR_S, FREE = 3000.0, 8 * 10**9


class Now:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.at_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def memory(tmp_path: Path, now: Now) -> RungMemory:
    return RungMemory(tmp_path, now)


def tried(memory: RungMemory, plan: EnginePlan = PLAN, audio_s: float = HOUR_S) -> None:
    memory.trying(plan, "GPU-1", audio_s, driver="570.1", free_bytes=FREE)


def known(
    memory: RungMemory, *, device: str = "GPU-1", audio_s: float = HOUR_S, driver: str = "570.1", free_bytes: int = FREE
) -> str | None:
    return memory.failed_rung(device, audio_s, driver=driver, free_bytes=free_bytes)


def test_what_failed_is_known_for_that_gpu_and_length_only(memory: RungMemory, tmp_path: Path) -> None:
    tried(memory)
    memory.failed()
    assert known(memory) == rung_of(PLAN)
    assert known(RungMemory(tmp_path, Now())) == rung_of(PLAN), "another process reads it too"
    assert known(memory, device="GPU-2") is None
    assert known(memory, audio_s=60.0) is None


@pytest.mark.parametrize(
    ("audio_s", "band"), [(0, "15 min"), (900, "1 h"), (3600, "3 h"), (10_799, "3 h"), (10_800, "longer")]
)
def test_bands_begin_at_a_quarter_one_and_three_hours(audio_s: float, band: str) -> None:
    assert band_of(audio_s) == band


def test_it_is_forgotten_after_a_week_with_another_driver_or_with_more_memory(memory: RungMemory, now: Now) -> None:
    tried(memory)
    memory.failed()
    assert known(memory, driver="580.2") is None
    assert known(memory, free_bytes=FREE + FREED_BYTES + 1) is None
    assert known(memory, free_bytes=FREE + FREED_BYTES // 2) is not None
    now.at_s += KEPT_S - 1
    assert known(memory) is not None
    now.at_s += 2
    assert known(memory) is None


def test_what_worked_leaves_nothing(memory: RungMemory) -> None:
    tried(memory)
    memory.worked()
    memory.died(os.getpid())
    memory.died(os.getpid())
    assert known(memory) is None


def test_a_process_that_dies_twice_with_one_plan_blames_it(memory: RungMemory) -> None:
    """Once may be the recording's fault."""
    tried(memory)
    memory.died(os.getpid())
    assert known(memory) is None
    tried(memory)
    memory.died(os.getpid())
    assert known(memory) == rung_of(PLAN)


def test_deaths_with_different_plans_or_with_a_success_between_are_not_added_up(memory: RungMemory) -> None:
    for plan in (PLAN, OTHER, PLAN):
        tried(memory, plan)
        memory.died(os.getpid())
    assert known(memory) is None
    tried(memory, PLAN)
    memory.worked()
    tried(memory, PLAN)
    memory.died(os.getpid())
    assert known(memory) is None


def test_a_process_that_was_ended_on_purpose_blames_nothing(memory: RungMemory) -> None:
    for _ in range(3):
        tried(memory)
        memory.ended(os.getpid())
        memory.died(os.getpid())
    assert known(memory) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"failed": {"GPU-1 1 h": 3}}', b"\xff\xfe"])
def test_a_damaged_file_is_as_good_as_none(memory: RungMemory, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert known(memory) is None
    tried(memory)
    memory.failed()
    assert known(memory) == rung_of(PLAN)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = RungMemory(tmp_path / "file" / "models")
    tried(memory)
    memory.failed()
    assert known(memory) is None


def test_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each blames its plan on its own GPU."""
    code = (
        "import sys; from pathlib import Path; from worker.engine.rung_memory import RungMemory\n"
        "from worker.models import EnginePlan\n"
        "plan = EnginePlan(model='m', device='cuda', compute_type='int8', batch_size=2)\n"
        "memory = RungMemory(Path(sys.argv[1]))\n"
        "for number in range(20):\n"
        "    memory.trying(plan, f'{sys.argv[2]}-{number}', 1.0, driver='d', free_bytes=1)\n"
        "    memory.failed()\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b")]
    assert [process.wait(60) for process in started] == [0, 0]
    memory = RungMemory(tmp_path)
    found = [
        memory.failed_rung(f"{name}-{number}", 1.0, driver="d", free_bytes=1)
        for name in ("a", "b")
        for number in range(20)
    ]
    assert found == ["m cuda int8 2"] * 40
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".lock"}, "no temporary file is left"
