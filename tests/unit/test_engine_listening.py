"""What the bundled diarizer tries when a GPU's memory runs out. The models themselves: tests/engine."""

from __future__ import annotations

from worker.engine.listening import _rungs
from worker.engine.reports import only_forward


def test_a_gpu_s_batch_is_halved_down_to_one_and_then_the_cpu_computes() -> None:
    assert list(_rungs("cuda:0", 20)) == [
        ("cuda:0", 20),
        ("cuda:0", 10),
        ("cuda:0", 5),
        ("cuda:0", 2),
        ("cuda:0", 1),
        ("cpu", 8),
    ]


def test_on_the_cpu_there_is_one_recipe() -> None:
    assert list(_rungs("cpu", 64)) == [("cpu", 8)]


def test_progress_of_a_second_try_never_goes_back() -> None:
    reported: list[float] = []
    report = only_forward(reported.append)
    for done in (0.1, 0.5, 0.1, 0.4, 0.6):
        report(done)
    assert reported == [0.1, 0.5, 0.5, 0.5, 0.6]
