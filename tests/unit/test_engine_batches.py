"""Batches in threads, in order, not far ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from worker.engine.batches import map_ahead


def test_results_come_in_the_order_of_the_batches() -> None:
    """The first batch waits until the second is done."""
    second_done = threading.Event()

    def work(batch: int) -> int:
        if batch == 0:
            assert second_done.wait(10)
        if batch == 1:
            second_done.set()
        return batch * 10

    assert list(map_ahead(work, range(6), num_threads=2)) == [0, 10, 20, 30, 40, 50]


def test_the_source_is_not_read_far_ahead() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    results = map_ahead(lambda batch: batch, source(), num_threads=2)
    for taken in range(1, 20):
        next(results)
        assert len(read) <= taken + 2


def test_an_error_in_a_batch_reaches_the_caller() -> None:
    def work(batch: int) -> int:
        raise RuntimeError("does not fit")

    with pytest.raises(RuntimeError, match="does not fit"):
        list(map_ahead(work, [1, 2, 3], num_threads=2))


def test_no_batches_no_results() -> None:
    assert list(map_ahead(lambda batch: batch, [], num_threads=2)) == []
