"""The bundled diarizer on a GPU, and when there is no room for it there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, write_rttm, write_wav
from worker.engine.diarize_bundled import BundledDiarizer
from worker.engine.listening import Listener
from worker.engine.recording import open_recording
from worker.engine.scoring import ReferenceScorer
from worker.models import Diarization


@pytest.fixture
def cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    return "cuda:0"


def run(diarizer: BundledDiarizer, audio: Path) -> Diarization:
    return diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=lambda _: None)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_turns_as_the_cpu(cuda: str, diarized: Diarization, sample: Path, tmp_path: Path) -> None:
    """Held against each other: less than one percent of the speech differs."""
    result = run(BundledDiarizer(device=cuda, batch_size=16), sample)
    scores = ReferenceScorer().score(
        reference_rttm=write_rttm(tmp_path / "cpu.rttm", diarized.turns),
        reference_stm=None,
        turns=result.turns,
        segments=(),
        duration_s=30.0,
    )
    assert scores.der is not None
    assert scores.der < 0.01
    assert (result.device, result.batch_size) == (cuda, 16)


@pytest.mark.gpu
def test_without_room_on_the_gpu_the_cpu_finds_the_same(cuda: str, diarized: Diarization, sample: Path) -> None:
    """Torch itself may take nothing: every batch, down to one chunk, runs out of memory for real."""
    import torch

    diarizer = BundledDiarizer(device=cuda, batch_size=4)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0)
    try:
        result = run(diarizer, sample)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert result == diarized
    assert run(diarizer, sample).device == cuda, "room again: the next recording is computed there"


def test_on_the_cpu_device_and_batch_are_said(diarized: Diarization) -> None:
    assert (diarized.device, diarized.batch_size) == ("cpu", 8)


@pytest.fixture
def refused() -> Iterator[list[int]]:
    """A device that holds at most two chunks; which batches it refused. Torch's own hook raises torch's own error."""
    from torch import OutOfMemoryError, Tensor
    from torch.nn import LSTM, Module
    from torch.nn.modules.module import register_module_forward_pre_hook

    batches: list[int] = []

    def refuse(module: Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, LSTM) and module.bidirectional and len(inputs[0]) > 2:
            batches.append(len(inputs[0]))
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = register_module_forward_pre_hook(refuse)
    yield batches
    hook.remove()


def test_the_batch_that_fits_is_found_and_remembered(refused: list[int], sample: Path, tmp_path: Path) -> None:
    """Five chunks. `cpu:0` is torch's other name of the CPU: not what we call it, so it is treated like a GPU."""
    audio = write_wav(tmp_path / "part.wav", read_sound(sample)[: 7 * RATE_HZ])
    listener = Listener(num_threads=1, device="cpu:0", batch_size=8)
    with open_recording(audio) as sound:
        first = listener.hear(sound, lambda _: None)
        assert refused == [5, 4]
        second = listener.hear(sound, lambda _: None)
    assert refused == [5, 4], "the second recording begins with the batch that fitted"
    assert (first.device, first.batch_size) == (second.device, second.batch_size) == ("cpu:0", 2)
    assert np.array_equal(first.vectors, second.vectors)
