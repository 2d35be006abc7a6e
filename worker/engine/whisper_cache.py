"""Whether a Whisper model is on this PC, told from the folders alone: faster_whisper itself would import torch."""

from __future__ import annotations

from pathlib import Path

from worker.engine.catalogue import ALIGNERS, REPOSITORIES, WHISPER_MODELS

__all__ = ["REPOSITORIES", "download_bytes", "is_in_cache"]


def is_in_cache(model: str, cache: Path) -> bool:
    """
    Args:
        model: a name of REPOSITORIES, or owner/repository.
        cache: the folder that whisper_files.whisper_folder is given.
    """
    folder = "models--" + REPOSITORIES.get(model, model).replace("/", "--")
    return any((cache / folder).glob("snapshots/*/model.bin"))  # linked there when it is complete


def download_bytes(model: str) -> float:
    """About how much the hub would send, the aligner included; for a name that says nothing, as of the largest."""
    known = {found.repository: found for found in WHISPER_MODELS.values()}.get(REPOSITORIES.get(model, model))
    whisper_bytes = known.download_bytes if known else max(m.download_bytes for m in WHISPER_MODELS.values())
    return whisper_bytes + ALIGNERS["nl"].download_bytes  # of most languages; English has a smaller one
