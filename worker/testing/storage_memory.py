"""Recordings in a dictionary: the twin of the real storages, under the same contract tests."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

from worker.exceptions import AudioMissingError, AudioPathRefusedError, AudioTooBigError
from worker.ports import Report


class MemoryStorage:
    """Implements `ports.Storage`; `recordings` maps `audio_path` to bytes and may be filled and read by tests."""

    def __init__(self, recordings: dict[str, bytes] | None = None) -> None:
        self.recordings = dict(recordings or {})

    async def fetch(self, audio_path: str, target: Path, *, max_bytes: int, report: Report) -> None:
        refuse_odd(audio_path)
        if audio_path not in self.recordings:
            raise AudioMissingError
        data = self.recordings[audio_path]
        if len(data) > max_bytes:
            raise AudioTooBigError
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(data)
        part.replace(target)
        report(1.0)

    async def put(self, source: Path, audio_path: str) -> None:
        refuse_odd(audio_path)
        if not source.is_file():
            raise AudioMissingError
        self.recordings[audio_path] = source.read_bytes()


def refuse_odd(audio_path: str) -> None:
    """The same paths as a folder or a bucket refuses."""
    names = audio_path.split("/")
    is_odd = "\\" in audio_path or any(category(letter) in ("Cc", "Cs") for letter in audio_path)
    if (
        is_odd
        or {"", ".", ".."} & set(names)
        or len(audio_path) > 1024
        or any(len(name.encode()) > 255 for name in names)
    ):
        raise AudioPathRefusedError
