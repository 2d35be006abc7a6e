"""
The diarizer of pyannote.audio 4: the pipeline speaker-diarization-community-1, or another one in its format.

    segmentation    who speaks within each ten seconds
    embeddings      what each of these voices sounds like; most of the work
    clustering      which of them are one person's (arithmetic, and silent)

The pipeline stays loaded between meetings. Audio is handed over as samples: pyannote reads no file itself.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.engine.pyannote_models import Hub, pipeline_folder, revision_of
from worker.engine.pyannote_output import as_diarization
from worker.engine.pyannote_pipeline import load_pipeline, quiet
from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.whisper_model import give_back
from worker.engine.whisperx_library import errors_mapped, is_gpu_out_of_memory, kept_alive
from worker.exceptions import GpuOutOfMemoryError
from worker.models import Diarization
from worker.ports import Report

_log = logging.getLogger(__name__)

_SEGMENTATION_SHARE = 0.2
_VOICES_SHARE = 0.95
"""Progress when a step is done. Voices are 60 to 85 % of the work: pyannote-audio pull request 1992."""

_BYTES_PER_CHUNK = 64 * 2**20
"""GPU memory that a chunk of a batch takes in the voice model: 1.83 GB for 32, pyannote-audio issue 1963."""
_BATCH_SIZE_PER_THREAD = 4
"""On the CPU: a quarter of a gigabyte each."""
_MAX_BATCH_SIZE = 32


class PyannoteDiarizer:
    """
    Implements `ports.Diarizer`.

    Args:
        model: `owner/repository` on the hub (fetched once into `cache`) or a folder with config.yaml.
        cache: where fetched pipelines are kept.
        hub: asked only for what is not on this PC.
        device: "cpu", "cuda" or "cuda:1".
        num_threads: of the CPU: so many parts of a batch are computed at once, each on one core. PyTorch is told to use
            one thread per part, for the whole process, as by the bundled diarizer.
        batch_size: chunks at once; None: by the GPU's free memory when a meeting begins, four per thread on the CPU.
        allow_cpu: go on with the CPU where even one chunk does not fit into the GPU.

    Raises ModelUnavailableError with its remedy, GpuOutOfMemoryError.
    """

    def __init__(
        self,
        *,
        model: str,
        cache: Path,
        hub: Hub,
        device: str = "cpu",
        num_threads: int = 2,
        batch_size: int | None = None,
        allow_cpu: bool = False,
    ) -> None:
        folder = pipeline_folder(model, cache, hub)
        self._pipeline = load_pipeline(folder, cache=cache, token=hub.token, device=device, num_threads=num_threads)
        self._model = f"pyannote.audio-{version('pyannote.audio')} {Path(model).name}"
        self._revision = revision_of(folder)
        self._device = device.partition(":")[0]
        self._num_threads = num_threads
        self._batch_size = batch_size
        self._allow_cpu = allow_cpu
        self._fitting: int | None = None  # the batch size that memory last ran out above, halved

    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        """
        Who speaks when. Silence gives no turns; it is not an error. Voices are described by the VoiceDescriber.

        Args:
            audio: WAV as the Decoder writes it.
            min_speakers: fewer are found where nobody can be told apart any more; a warning says so.
            max_speakers: never more. The maximum wins where the two contradict each other.

        Raises AudioPreprocessingError, GpuOutOfMemoryError, OutOfMemoryError, EngineError.
        """
        at_most = max(1, max_speakers) if max_speakers is not None else None
        at_least = min(max(1, min_speakers or 1), at_most or max(1, min_speakers or 1))
        with open_recording(audio) as sound:
            samples = sound.read(dtype="float32")
        if not samples.any():  # pyannote fails on no samples at all
            return self._empty(report)
        progress = _Progress(report)
        with errors_mapped(), kept_alive(progress.repeat_when_silent):
            output, batch_size = self._heard(samples, progress, min_speakers=at_least, max_speakers=at_most)
        result = as_diarization(
            output,
            duration_s=len(samples) / RATE_HZ,
            min_speakers=at_least,
            batch_size=batch_size,
            **self._made_by(),
        )
        report(1.0)
        return result

    def _empty(self, report: Report) -> Diarization:
        report(1.0)
        return Diarization(turns=(), exclusive=(), embeddings=(), **self._made_by())

    def _made_by(self) -> dict[str, Any]:
        return {
            "diarizer": "pyannote",
            "model": self._model,
            "revision": self._revision,
            "device": self._device,
        }

    def _heard(self, samples: Any, progress: _Progress, **bounds: Any) -> tuple[Any, int]:
        """pyannote's answer, and the batch size it was made with: ever smaller ones while the GPU's memory runs out."""
        batch_size = self._first_batch_size()
        while True:
            output, trouble = self._tried(samples, batch_size, progress, bounds)
            self._give_back()
            if trouble is None:
                return output, batch_size
            if batch_size > 1:
                batch_size = self._fitting = batch_size // 2
            elif self._allow_cpu:
                self._move_to_cpu()
                batch_size = self._first_batch_size()
            else:
                raise GpuOutOfMemoryError(reason=trouble, replace_child=True)
            _log.warning("diarization_gpu_out_of_memory", extra={"device": self._device, "next_batch_size": batch_size})

    def _tried(self, samples: Any, batch_size: int, progress: _Progress, bounds: Any) -> tuple[Any, str | None]:
        """The answer, or why the GPU's memory did not suffice. The error is not kept: it would hold that memory."""
        import torch

        self._pipeline.segmentation_batch_size = self._pipeline.embedding_batch_size = batch_size
        recording = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ}
        try:
            with quiet():
                return self._pipeline(recording, hook=progress, **bounds), None
        except (MemoryError, RuntimeError) as error:
            if self._device != "cuda" or not _ran_out(error):
                raise
            return None, str(error)[:500]

    def _first_batch_size(self) -> int:
        if self._device == "cpu":
            return self._batch_size or _BATCH_SIZE_PER_THREAD * self._num_threads
        wanted = self._batch_size or fitting_batch_size(_free_bytes())
        return min(wanted, self._fitting or wanted)

    def _move_to_cpu(self) -> None:
        """For the rest of this process's life."""
        import torch

        self._pipeline.to(torch.device("cpu"))
        self._give_back()
        self._device = "cpu"

    def _give_back(self) -> None:
        """What torch keeps for later is missing to CTranslate2, which has its own memory."""
        if self._device == "cuda":
            give_back()


def fitting_batch_size(free_bytes: int) -> int:
    """A power of two, 1 to 32, that takes at most half of the free memory: the other half is for what is not known."""
    size = _MAX_BATCH_SIZE
    while size > 1 and size * _BYTES_PER_CHUNK > free_bytes / 2:
        size //= 2
    return size


def _free_bytes() -> int:
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free)


def _ran_out(error: BaseException) -> bool:
    """pyannote's segmentation makes a MemoryError of what torch raised; cuDNN is at a loss in words of its own."""
    causes = (error, error.__context__, error.__cause__)
    return any(
        isinstance(cause, Exception) and (is_gpu_out_of_memory(cause) or "CUDNN_STATUS_NOT_SUPPORTED" in str(cause))
        for cause in causes
    )


class _Progress:
    """
    pyannote's hook: what it says about its steps as one bar that never goes back, also when a step is done again.

    `repeat_when_silent` says the last value again during the arithmetic after the voices, which takes minutes for long
    recordings and says nothing. Not before: models that hang are to be noticed.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0.0

    def __call__(self, step: str, *_: Any, total: int | None = None, completed: int | None = None, **__: Any) -> None:
        share = min(1.0, completed / total) if total and completed is not None else 1.0
        if step == "segmentation":
            self._advance(_SEGMENTATION_SHARE * share)
        elif step == "embeddings":
            self._advance(_SEGMENTATION_SHARE + (_VOICES_SHARE - _SEGMENTATION_SHARE) * share)

    def _advance(self, done: float) -> None:
        self._done = max(self._done, done)
        self._report(self._done)

    def repeat_when_silent(self, _: float) -> None:
        if self._done >= _VOICES_SHARE:
            self._report(self._done)
