"""Where a Whisper model's files are: in a folder, in the cache, or on the Hugging Face hub. Imports no torch."""

from __future__ import annotations

import errno
from pathlib import Path

from worker.exceptions import ModelUnavailableError

_WEIGHTS = "model.bin"


def whisper_folder(model: str, cache: Path, *, offline: bool = False) -> Path:
    """
    The folder with the model in CTranslate2 format. The hub is asked only for what is not here.

    Args:
        model: a name (`small`, `large-v3` ..., or `owner/repository` on the hub) or a folder.
        cache: where fetched models are kept.
        offline: never ask the hub.

    Raises ModelUnavailableError (no such model, or the hub cannot be reached), OSError when the disk is full.
    """
    if Path(model).is_dir():
        if (Path(model) / _WEIGHTS).is_file():
            return Path(model)
        raise _unavailable(model, f"the folder holds no {_WEIGHTS}: not in CTranslate2 format")
    if not is_hub_name(model):
        raise _unavailable(model, "no such folder")
    folder = _cached(model, cache)
    if folder is None and offline:
        raise _unavailable(model, "MODELS_OFFLINE is set")
    return folder or _fetched(model, cache)


def is_hub_name(model: str) -> bool:
    return not model.startswith((".", "/", "~")) and model.count("/") <= 1


def _cached(model: str, cache: Path) -> Path | None:
    """None also for a download that was cut off."""
    try:
        folder = _download(model, cache, local_files_only=True)
    except (OSError, ValueError):
        return None
    return folder if (folder / _WEIGHTS).is_file() else None


def _fetched(model: str, cache: Path) -> Path:
    try:
        folder = _download(model, cache)
    except OSError as error:  # the hub's own errors are OSErrors as well
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unavailable(model, f"{type(error).__name__}: {error}") from error
    except (RuntimeError, ValueError) as error:  # ValueError: no such name
        raise _unavailable(model, f"{type(error).__name__}: {error}") from error
    if not (folder / _WEIGHTS).is_file():  # without a network the hub's client hands out what is there
        raise _unavailable(model, "the download was cut off")
    return folder


def _download(model: str, cache: Path, *, local_files_only: bool = False) -> Path:
    from faster_whisper.utils import download_model  # type: ignore[import-untyped]  # ships no type information

    return Path(download_model(model, cache_dir=str(cache), local_files_only=local_files_only))


def _not_here(model: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The Whisper model {Path(model).name} is not on this PC, and MODELS_OFFLINE forbids to fetch it. Run "
        "`python -m worker models pull --from-lab`, or set WHISPER_MODEL to a folder that holds the model in "
        "CTranslate2 format.",
        reason="offline",
    )


def _unavailable(model: str, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The Whisper model {Path(model).name} is not on this PC and cannot be fetched. Check the name, let the PC "
        "reach huggingface.co once, or set WHISPER_MODEL to a folder that holds the model in CTranslate2 format; "
        "ASR_ENGINE=sphinx works without one.",
        reason=reason,
    )
