"""One Whisper model, loaded as a plan says and kept until another plan asks for another one."""

from __future__ import annotations

import contextlib
import gc
import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.engine.whisper_files import whisper_folder
from worker.engine.whisperx_library import hushed, is_out_of_memory, kept_alive, mapped
from worker.exceptions import ModelUnavailableError
from worker.models import EnginePlan
from worker.ports import Report


@dataclass(frozen=True, slots=True)
class LoadedWhisper:
    """
    Attributes:
        pipeline: whisperx's; its `model` is the faster_whisper.WhisperModel.
        options: as they were when it was loaded, of no meeting.
        name: for people, with the library's version; not where the model lies.
        revision: the hub's commit, or a checksum of the weights.
    """

    pipeline: Any
    options: Any
    name: str
    revision: str

    @property
    def whisper(self) -> Any:
        return self.pipeline.model


class WarmWhisper:
    """
    At most one model at a time.

    Args:
        cache: where models from the hub are kept.
        num_threads: of the CPU. PyTorch is told to use one, for the whole process, as by the bundled diarizer.
        offline: never ask the hub.

    Attributes:
        plan: of what is loaded; None while nothing is.
    """

    def __init__(self, *, cache: Path, cuda_device: int, num_threads: int, offline: bool) -> None:
        self._cache = cache
        self._cuda_device = cuda_device
        self._num_threads = num_threads
        self._offline = offline
        self._loaded: LoadedWhisper | None = None
        self.plan: EnginePlan | None = None

    def ready(self, plan: EnginePlan, report: Report) -> LoadedWhisper:
        """
        The plan's model. Another batch size is no reason to load it again.

        Raises ModelUnavailableError, GpuOutOfMemoryError, OutOfMemoryError.
        """
        if self._loaded is None or not self._fits(plan):
            self.free()
            with kept_alive(report):
                self._loaded = self._load(plan)
        self.plan = plan
        return self._loaded

    def make_room(self, plan: EnginePlan) -> None:
        """Give back what the next try with `plan` does not need, after memory ran out."""
        if not self._fits(plan):
            self.free()
        give_back()

    def free(self) -> None:
        """Never fails, not even on a GPU that is lost."""
        loaded, self._loaded, self.plan = self._loaded, None, None
        if loaded is None:
            return
        with contextlib.suppress(RuntimeError):
            loaded.whisper.model.unload_model()  # CTranslate2's memory goes now, whoever still holds the object
        del loaded
        give_back()

    def _fits(self, plan: EnginePlan) -> bool:
        """Whether what is loaded is what the plan needs."""
        now = self.plan
        return now is not None and all(
            getattr(now, part) == getattr(plan, part) for part in ("model", "device", "compute_type")
        )

    def _load(self, plan: EnginePlan) -> LoadedWhisper:
        folder = whisper_folder(plan.model, self._cache, offline=self._offline)
        with hushed():
            _check_device(plan, self._cuda_device)
            pipeline = _pipeline(folder, plan, self._cuda_device, self._num_threads)
        name = f"whisperx-{version('whisperx')} {Path(plan.model).name}"
        return LoadedWhisper(pipeline, pipeline.options, name, revision_of(folder))


def give_back() -> None:
    """What nobody refers to any more goes back to the GPU's driver. Never fails."""
    import torch

    gc.collect()
    with contextlib.suppress(RuntimeError):  # does nothing where CUDA was never used
        torch.cuda.empty_cache()


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def revision_of(folder: Path) -> str:
    """The commit, in a folder as the hub's client keeps them; else the beginning of the weights' checksum."""
    if folder.parent.name == "snapshots":
        return folder.name
    with (folder / "model.bin").open("rb") as weights:
        return f"sha256:{hashlib.file_digest(weights, 'sha256').hexdigest()[:16]}"


def _check_device(plan: EnginePlan, cuda_device: int) -> None:
    import torch

    torch.set_num_threads(1)
    if plan.device == "cuda" and torch.cuda.is_available() and cuda_device >= torch.cuda.device_count():
        raise ModelUnavailableError(
            f"There is no GPU number {cuda_device} on this PC. Set CUDA_DEVICE to less than "
            f"{torch.cuda.device_count()}, or ENABLE_GPU=false."
        )


def _pipeline(folder: Path, plan: EnginePlan, cuda_device: int, num_threads: int) -> Any:
    import whisperx

    try:
        with contextlib.redirect_stdout(None):  # it says that it was handed a voice detector
            return whisperx.load_model(
                str(folder),
                plan.device,
                device_index=cuda_device if plan.device == "cuda" else 0,
                compute_type=plan.compute_type,
                vad_model=object(),  # each meeting brings its own
                local_files_only=True,
                threads=num_threads,
            )
    except (ImportError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise mapped(error) from error
        raise ModelUnavailableError(
            "The Whisper model is here and cannot be loaded. Ask the administrator to check that WHISPER_MODEL's files "
            "are complete and in CTranslate2 format, and, with a GPU, that its driver fits (ENABLE_GPU=false works "
            "without).",
            reason=f"{type(error).__name__}: {error}",
            replace_child=True,
        ) from error
