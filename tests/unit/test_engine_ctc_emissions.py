"""What is heard together, and in which number format."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.ctc_emissions import batches_of, fitting_compute_type


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 300))
def test_batches_hold_everything_once_and_not_too_much_padding(lengths: list[int], max_total: int) -> None:
    batches = list(batches_of(lengths, max_total=max_total))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= max_total


def test_what_is_equally_long_comes_together() -> None:
    assert list(batches_of([10, 3, 10, 3, 3], max_total=20)) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [("fpu avx2 avx512f", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16 amx_tile", "bfloat16")],
)
def test_a_processor_that_has_bfloat16_uses_it(tmp_path: Path, flags: str, chosen: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert fitting_compute_type("auto", "cpu", cpuinfo=cpuinfo) == chosen


def test_a_processor_that_tells_nothing_is_taken_for_an_old_one(tmp_path: Path) -> None:
    assert fitting_compute_type("auto", "cpu", cpuinfo=tmp_path / "none") == "float32"


def test_what_is_asked_for_is_used() -> None:
    assert fitting_compute_type("bfloat16", "cpu") == "bfloat16"
