"""Recordings in a dictionary: the twin of the real storages, under the same contract tests."""

from __future__ import annotations

from pathlib import Path

from worker.audio_paths import split_audio_path
from worker.exceptions import AudioMissingError, AudioTooBigError
from worker.ports import Report, unheard


class MemoryStorage:
    """Implements `ports.Storage`; `recordings` maps `audio_path` to bytes and may be filled and read by tests."""

    def __init__(self, recordings: dict[str, bytes] | None = None) -> None:
        self.recordings = dict(recordings or {})

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        split_audio_path(address)
        if address not in self.recordings:
            raise AudioMissingError
        data = self.recordings[address]
        if len(data) > max_bytes:
            raise AudioTooBigError
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(data)
        part.replace(target)
        report(1.0)

    async def put(self, source: Path, audio_path: str, *, report: Report = unheard) -> None:
        split_audio_path(audio_path)
        if not source.is_file():
            raise AudioMissingError
        self.recordings[audio_path] = source.read_bytes()
        report(1.0)
