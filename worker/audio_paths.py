"""The names that recordings may have in a storage: one rule, whether it is a bucket or a folder."""

from __future__ import annotations

from unicodedata import category

from worker.exceptions import AudioPathRefusedError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
"""The longest name and the longest path that a bucket takes."""


def split_audio_path(audio_path: str) -> tuple[str, ...]:
    """
    The names of the folders and of the file.

    Raises AudioPathRefusedError unless it is a plain relative path: no `..`, no empty name, no backslash, no control
    character, nothing longer than a bucket or a file system takes.
    """
    parts = tuple(audio_path.split("/"))
    if (
        "\\" in audio_path
        or {"", ".", ".."} & set(parts)
        or any(category(letter) in ("Cc", "Cs") for letter in audio_path)
    ):
        raise AudioPathRefusedError
    if len(audio_path.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise AudioPathRefusedError
    return parts
