"""Whether a Whisper model is on this PC, told from the folders alone: faster_whisper itself would import torch."""

from __future__ import annotations

from pathlib import Path

_SYSTRAN = ("tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3")
_ENGLISH = ("tiny.en", "base.en", "small.en", "medium.en")
_DISTILLED = ("large-v2", "medium.en", "small.en", "large-v3")

REPOSITORIES: dict[str, str] = {
    **{name: f"Systran/faster-whisper-{name}" for name in (*_SYSTRAN, *_ENGLISH)},
    **{f"distil-{name}": f"Systran/faster-distil-whisper-{name}" for name in _DISTILLED},
    "large": "Systran/faster-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""The names that faster-whisper knows, and where the hub has them. Source: faster_whisper.utils."""

_SIZES_BYTES = {"tiny": 80e6, "base": 150e6, "small": 490e6, "medium": 1.6e9, "large": 3.1e9}
_ALIGNER_BYTES = 1.3e9
"""wav2vec2 for most languages; English has a smaller one."""


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
    name = REPOSITORIES.get(model, model).rpartition("/")[2]
    if "turbo" in name or "distil-large" in name:
        return _SIZES_BYTES["medium"] + _ALIGNER_BYTES
    found = next((size for word, size in _SIZES_BYTES.items() if word in name), _SIZES_BYTES["large"])
    return found + _ALIGNER_BYTES
