"""The file that is uploaded: its size, SHA-256 and bytes, as long as nobody writes to it meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from threading import Event
from typing import TypeVar

from worker.exceptions import AudioCorruptedError, AudioMissingError

T = TypeVar("T")

BLOCK_BYTES = 1 << 20

CHANGED = "The file changed while it was uploaded. Wait until its recording has ended, then try again."
UNREADABLE = "The file cannot be read. Check its owner, its permissions and its disk."

CONTENT_TYPES = {
    "aac": "audio/aac",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "amr": "audio/amr",
    "avi": "video/x-msvideo",
    "caf": "audio/x-caf",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "mka": "audio/x-matroska",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "wma": "audio/x-ms-wma",
}
"""By extension; the system's own table differs from PC to PC."""


def content_type_of(name: str) -> str:
    """What a browser needs to play it. The worker looks into the file instead."""
    return CONTENT_TYPES.get(PurePosixPath(name).suffix.lower().removeprefix("."), "application/octet-stream")


class UploadSource:
    """An open file. Methods raise AudioCorruptedError once it has changed, AudioMissingError if it is unreadable."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped = Event()
        self._state = self._current_state()
        self.size_bytes = self._state[0]

    async def sha256(self) -> str:
        """Lower-case hex."""
        return await self._in_thread(self._hash)

    async def read(self, offset: int, num_bytes: int) -> bytes:
        """So many bytes, or up to the end."""
        return await self._in_thread(lambda: self._read(offset, num_bytes))

    def _hash(self) -> str:
        digest, offset = hashlib.sha256(), 0
        while offset < self.size_bytes and not self._stopped.is_set():
            block = self._read(offset, BLOCK_BYTES)
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()

    def _read(self, offset: int, num_bytes: int) -> bytes:
        expected = min(num_bytes, self.size_bytes - offset)
        parts, found = [], 0
        while found < expected:
            part = os.pread(self._descriptor, expected - found, offset + found)
            if not part:
                break
            parts.append(part)
            found += len(part)
        if found < expected or self._current_state() != self._state:
            raise AudioCorruptedError(CHANGED)
        return b"".join(parts)

    def _current_state(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """A cancelled caller waits until the thread has ended, because the file is closed next."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stopped.set()
            await asyncio.gather(task, return_exceptions=True)
            raise
        except OSError as error:
            reason = type(error).__name__
        raise AudioMissingError(UNREADABLE, reason=reason)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[UploadSource]:
    """Raises AudioMissingError for what is not there, is no file, or must not be read."""
    try:
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise AudioMissingError("The file to upload is not there.") from None
    except OSError as error:
        raise AudioMissingError(UNREADABLE, reason=type(error).__name__) from None
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise AudioMissingError("What is to be uploaded is not a file.")
        yield UploadSource(descriptor)
    finally:
        os.close(descriptor)
