"""
All that the two models of the bundled diarizer say about a recording; the rest is arithmetic.

On a GPU the same layers compute larger batches, one after the other. When its memory runs out the batch is halved, and
after the smallest the recording is computed on the CPU: slower, with the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.engine.grid import Floats
from worker.engine.pieces import Pieces, cut_pieces
from worker.engine.reports import only_forward, part
from worker.engine.segmentation import BATCH_CHUNKS_CPU, SegmentationModel
from worker.engine.tracks import Tracks, follow_voices
from worker.engine.voices import VoiceEncoder, num_mel_frames
from worker.engine.whisperx_library import is_gpu_out_of_memory
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

CPU = "cpu"
BATCH_CHUNKS_GPU = 64
"""About 10 MB of GPU memory per chunk of five seconds."""

_CHUNK_STEP = 30
"""Frames between chunks, 0.506 s. 1.0 s is a third faster and as good on AMI; 0.5 s is steadier on shifted audio."""
_WINDOWS_PER_CHUNK = 4
"""Windows of the encoder are smaller than chunks: so many at once for each."""
_SEGMENTATION_SHARE = 0.7


@dataclass(frozen=True)
class Heard:
    """
    Attributes:
        vectors: one per piece, L2-normalised, shape (num_pieces, 256).
        device, batch_size: what it was computed with in the end.
    """

    tracks: Tracks
    pieces: Pieces
    vectors: Floats
    device: str
    batch_size: int


class Listener:
    """
    Both models, loaded once; on the CPU until a recording is heard.

    Args:
        num_threads: batches computed at once on the CPU, each on one core.
        device: as torch names it.
        batch_size: chunks at once on a GPU, to begin with; None: 64. The next recording begins with what worked last.
        encoder: shared with others; None: one of its own.

    Raises ModelUnavailableError: a model cannot be loaded.
    """

    def __init__(
        self,
        *,
        num_threads: int,
        device: str = CPU,
        batch_size: int | None = None,
        encoder: VoiceEncoder | None = None,
    ) -> None:
        self._num_threads = num_threads
        self._device = device
        self._batch_size = max(1, batch_size or BATCH_CHUNKS_GPU)
        self._segmentation = SegmentationModel()
        self._encoder = encoder or VoiceEncoder()

    def hear(self, sound: soundfile.SoundFile, report: Report) -> Heard:
        """Raises RuntimeError, MemoryError: what torch raises, but for a GPU's memory that ran out."""
        report = only_forward(report)
        for device, batch_size in _rungs(self._device, self._batch_size):
            try:
                heard = self._hear_on(device, batch_size, sound, report)
            except RuntimeError as error:
                if device == CPU or not is_gpu_out_of_memory(error):
                    raise
            else:
                if device != CPU:
                    self._batch_size = batch_size
                return heard
            self._leave_gpu()
        raise AssertionError("The last rung is the CPU, which returns or raises.")

    def _hear_on(self, device: str, batch_size: int, sound: soundfile.SoundFile, report: Report) -> Heard:
        self._segmentation.to(device)
        self._encoder.to(device)
        self._segmentation.batch_size = batch_size
        self._encoder.batch_size = batch_size * _WINDOWS_PER_CHUNK
        num_threads = self._num_threads if device == CPU else 1
        with nullcontext() if device == CPU else exact():
            activations = self._segmentation.activations(
                sound, step=_CHUNK_STEP, num_threads=num_threads, report=part(report, 0.0, _SEGMENTATION_SHARE)
            )
            tracks = follow_voices(activations, _CHUNK_STEP)
            pieces = cut_pieces(tracks, num_mel_frames(sound.frames))
            rest = part(report, _SEGMENTATION_SHARE, 0.95)
            vectors = self._encoder.describe(sound, pieces, num_threads=num_threads, report=rest)
        return Heard(tracks, pieces, vectors, device, batch_size)

    def _leave_gpu(self) -> None:
        """What lies there in pieces goes back, so that the next try finds room."""
        import torch

        self._segmentation.to(CPU)
        self._encoder.to(CPU)
        torch.cuda.empty_cache()


def _rungs(device: str, batch_size: int) -> Iterator[tuple[str, int]]:
    """What to try, one after the other: ever smaller batches on the GPU, then the CPU."""
    while device != CPU and batch_size >= 1:
        yield device, batch_size
        batch_size //= 2
    yield CPU, BATCH_CHUNKS_CPU


def exact() -> AbstractContextManager[None]:
    """
    Without TensorFloat-32, cuDNN's default: its ten bits move what is near a threshold. It is fast enough.

    The switch is the whole process's and not safe between threads, so it is set around all of them.
    """
    from torch.backends import cudnn

    exact: AbstractContextManager[None] = cudnn.flags(enabled=True, allow_tf32=False)
    return exact
