"""One worker per GPU on a PC; two real processes are in tests/crash/test_fleet_commands.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from uuid import uuid4

import pytest

from worker.adapters.gpu_gate import GpuGate
from worker.models import GpuFacts


def gpu(uuid: str) -> GpuFacts:
    return GpuFacts(name="NVIDIA X", uuid=uuid, driver="570.1", vram_bytes=2**34)


class Pc:
    """Gates of several workers, of this process; another test's workers hold other GPUs."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack, self.uuid = stack, f"GPU-{uuid4()}"

    def gate(self, worker_id: str, *, uuid: str | None = None) -> GpuGate:
        return self.stack.enter_context(closing(GpuGate(gpu(uuid or self.uuid), worker_id)))


@pytest.fixture
def pc() -> Iterator[Pc]:
    with ExitStack() as stack:
        yield Pc(stack)


def test_the_first_worker_gets_the_gpu_and_keeps_it(pc: Pc) -> None:
    first = pc.gate("w1")
    assert [first.trouble(), first.trouble()] == [None, None]


def test_the_second_worker_says_why_it_waits_for_whom_and_what_to_do(pc: Pc) -> None:
    first, second = pc.gate("lab-pc-1"), pc.gate("lab-pc-2")
    first.trouble()
    trouble = second.trouble()
    assert trouble is not None
    assert trouble.code == "gpu_taken"
    assert "NVIDIA X" in trouble.sentence
    assert "the worker lab-pc-1 on the same PC" in trouble.sentence
    assert "CUDA_DEVICE" in trouble.sentence


def test_the_second_worker_gets_the_gpu_when_the_first_lets_go(pc: Pc) -> None:
    first, second = pc.gate("w1"), pc.gate("w2")
    first.trouble()
    assert second.trouble() is not None
    first.close()
    assert second.trouble() is None
    assert first.trouble() is not None


def test_two_gpus_have_two_workers(pc: Pc) -> None:
    first, second = pc.gate("w1"), pc.gate("w2", uuid=f"GPU-{uuid4()}")
    assert (first.trouble(), second.trouble()) == (None, None)


def test_who_has_not_asked_yet_holds_nothing(pc: Pc) -> None:
    """A worker that is refused by the database, say, must not keep another from the GPU."""
    pc.gate("w1")
    assert pc.gate("w2").trouble() is None


def test_the_longest_worker_id_fits(pc: Pc) -> None:
    """63 characters is what WORKER_ID may have; a socket's name has 107 bytes."""
    pc.gate("w" * 63).trouble()
    trouble = pc.gate("w2").trouble()
    assert trouble is not None
    assert "w" * 63 in trouble.sentence


def test_a_child_of_the_worker_does_not_hold_the_gpu(pc: Pc) -> None:
    """An engine process that outlives a killed worker by a moment must not keep the next one out."""
    first = pc.gate("w1")
    first.trouble()
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        first.close()
        assert pc.gate("w2").trouble() is None
    finally:
        child.communicate(b"\n")
