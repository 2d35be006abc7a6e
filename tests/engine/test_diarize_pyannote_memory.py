"""The ladder of batch sizes while a GPU's memory runs out; the GPU is played by whatever the tests run on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.speech_sample import RATE_HZ, read_sound, sample_folder, write_wav
from tests.support.tiny_pyannote import write_pipeline
from worker.engine.diarize_pyannote import PyannoteDiarizer, fitting_batch_size
from worker.engine.pyannote_models import Hub
from worker.exceptions import EngineError, GpuOutOfMemoryError
from worker.models import Diarization

OFFLINE = Hub(token=None, address="http://127.0.0.1:9", is_offline=True)


def as_torch_says_it() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 4.00 GiB")


def as_pyannotes_segmentation_says_it() -> None:
    try:
        as_torch_says_it()
    except RuntimeError:
        raise MemoryError("batch_size ( 4) is probably too large.")  # noqa: B904 - pyannote's way


class Hungry:
    """The real pipeline, that runs out of memory with batches larger than `fits` until it is on the CPU."""

    def __init__(self, pipeline: Any, fits: int, run_out: Callable[[], None] = as_torch_says_it) -> None:
        self._pipeline = pipeline
        self._fits = fits
        self._run_out = run_out
        self.segmentation_batch_size = self.embedding_batch_size = 1
        self.tried: list[int] = []

    def __call__(self, *recording: Any, **options: Any) -> Any:
        self.tried.append(self.embedding_batch_size)
        assert self.segmentation_batch_size == self.embedding_batch_size
        if self.embedding_batch_size > self._fits:
            options["hook"]("segmentation", None, total=2, completed=1)
            self._run_out()
        return self._pipeline(*recording, **options)

    def to(self, device: Any) -> None:
        assert device.type == "cpu"
        self._fits = 1000


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> PyannoteDiarizer:
    folder = write_pipeline(tmp_path_factory.mktemp("memory") / "pipeline")
    return PyannoteDiarizer(model=str(folder), cache=folder, hub=OFFLINE, batch_size=4)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = read_sound(sample_folder() / "sample.wav")[10 * RATE_HZ : 13 * RATE_HZ]
    return write_wav(tmp_path_factory.mktemp("audio") / "audio.wav", samples)


@pytest.fixture
def on_gpu(loaded: PyannoteDiarizer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hungry]:
    """Makes `loaded` believe that it is on a GPU where batches above so many do not fit."""

    def pretend(fits: int, run_out: Callable[[], None] = as_torch_says_it, *, allow_cpu: bool = False) -> Hungry:
        hungry = Hungry(loaded._pipeline, fits, run_out)
        state = {"_pipeline": hungry, "_device": "cuda", "_fitting": None, "_allow_cpu": allow_cpu}
        for name, value in state.items():
            monkeypatch.setattr(loaded, name, value)
        return hungry

    return pretend


def run(diarizer: PyannoteDiarizer, audio: Path, seen: list[float] | None = None) -> Diarization:
    report = seen.append if seen is not None else lambda _: None
    return diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=report)


@pytest.mark.proves("GPU out of memory")
@pytest.mark.parametrize("run_out", [as_torch_says_it, as_pyannotes_segmentation_says_it])
def test_the_batch_is_halved_until_it_fits_and_that_is_remembered(
    loaded: PyannoteDiarizer, audio: Path, on_gpu: Callable[..., Hungry], run_out: Callable[[], None]
) -> None:
    seen: list[float] = []
    hungry = on_gpu(1, run_out)
    result = run(loaded, audio, seen)
    assert hungry.tried == [4, 2, 1]
    assert (result.batch_size, result.device) == (1, "cuda")
    assert seen == sorted(seen), "what is done again does not set the bar back"
    run(loaded, audio)
    assert hungry.tried == [4, 2, 1, 1]


def test_what_does_not_fit_at_all_goes_to_the_cpu_if_that_is_allowed(
    loaded: PyannoteDiarizer, audio: Path, on_gpu: Callable[..., Hungry]
) -> None:
    hungry = on_gpu(0, allow_cpu=True)
    result = run(loaded, audio)
    assert hungry.tried == [4, 2, 1, 4]
    assert result.device == "cpu"


def test_else_it_is_an_error_that_costs_the_process(
    loaded: PyannoteDiarizer, audio: Path, on_gpu: Callable[..., Hungry]
) -> None:
    hungry = on_gpu(0)
    with pytest.raises(GpuOutOfMemoryError) as caught:
        run(loaded, audio)
    assert hungry.tried == [4, 2, 1]
    assert caught.value.details["replace_child"] is True


def test_an_error_that_poisons_the_gpu_is_not_tried_again(
    loaded: PyannoteDiarizer, audio: Path, on_gpu: Callable[..., Hungry]
) -> None:
    def poison() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    hungry = on_gpu(0, poison)
    with pytest.raises(EngineError) as caught:
        run(loaded, audio)
    assert hungry.tried == [4]
    assert caught.value.details["replace_child"] is True


def test_a_batch_takes_at_most_half_of_the_free_memory() -> None:
    """64 MiB for each chunk, 1 to 32 chunks."""
    sizes = {gib: fitting_batch_size(int(gib * 2**30)) for gib in (0.0, 0.2, 0.5, 1.0, 3.9, 4.0, 80.0)}
    assert sizes == {0.0: 1, 0.2: 1, 0.5: 4, 1.0: 8, 3.9: 16, 4.0: 32, 80.0: 32}


@pytest.mark.gpu
def test_on_a_gpu_the_turns_are_those_of_the_cpu(tmp_path: Path) -> None:
    """Within 0.1 s at every edge."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    folder = write_pipeline(tmp_path / "pipeline", "VBxClustering")
    results = [
        run(
            PyannoteDiarizer(model=str(folder), cache=tmp_path, hub=OFFLINE, device=device),
            sample_folder() / "sample.wav",
        )
        for device in ("cpu", "cuda:0")
    ]
    edges = [np.array([(turn.start_s, turn.end_s) for turn in result.turns]) for result in results]
    assert [turn.label for turn in results[0].turns] == [turn.label for turn in results[1].turns]
    assert np.abs(edges[0] - edges[1]).max() <= 0.1
    assert results[1].device == "cuda"
    assert results[1].batch_size == 32 or torch.cuda.mem_get_info()[0] < 4 * 2**30
