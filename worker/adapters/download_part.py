"""
A recording on its way to this disk: `.<name>.part`, and beside it `.<name>.part.json`, which says of what it is a part.

What is on disk survives the attempt, so that the next one goes on where this one was cut. Every `CHECKPOINT_BYTES` the
bytes are forced to the disk before the note of their number is: after a power cut a part is shorter, never wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from threading import Event
from typing import TypeVar

from worker.disk_errors import disk_error
from worker.exceptions import AudioDownloadError, DiskFullError

T = TypeVar("T")

BLOCK_BYTES = 1 << 20
CHECKPOINT_BYTES = 64 << 20

NOT_WRITABLE = "The recording cannot be written on this PC. Ask the administrator to check AUDIO_TEMP_DIR and its disk."


@dataclass(frozen=True, slots=True)
class Identity:
    """Of what a part is a part; with another identity its bytes are worth nothing."""

    version: str
    """Names the recording; no secret is in it."""
    validator: str | None
    """What the server calls these bytes (ETag, Last-Modified); None if it does not say."""
    total_bytes: int | None


class PartFile:
    """The bytes that have arrived, and their SHA-256. All methods block: call them by `on_disk`."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        self._file: FileIO | None = None
        self._sha256 = hashlib.sha256()
        self._num_noted = 0
        self.stopped = Event()
        self.num_bytes = 0
        self.identity: Identity | None = None

    def recover(self) -> None:
        """Take over what an earlier attempt left, if its note can be read."""
        try:
            note = json.loads(self._note.read_bytes())
            identity, num_bytes = Identity(**note["of"]), int(note["num_bytes"])
            is_there = not self._path.is_symlink() and self._path.stat().st_size >= num_bytes > 0
        except (OSError, ValueError, KeyError, TypeError):
            return
        if is_there:
            self.identity, self.num_bytes, self._num_noted = identity, num_bytes, num_bytes

    def begin(self, identity: Identity) -> None:
        """Start with no bytes. Raises DiskFullError when there is no room for all of them."""
        self._close()
        self._note.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        if identity.total_bytes and shutil.disk_usage(self._path.parent).free < identity.total_bytes:
            raise DiskFullError
        self._file = self._open(os.O_CREAT | os.O_EXCL)
        self._sha256 = hashlib.sha256()
        self.num_bytes = self._num_noted = 0
        self.identity = identity

    def append(self, block: bytes | bytearray) -> None:
        file, rest = self._opened(), memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]
        self._sha256.update(block)
        self.num_bytes += len(block)
        if self.num_bytes - self._num_noted >= CHECKPOINT_BYTES:
            self._checkpoint(file)

    def sha256(self) -> str:
        """Of all bytes here, lower-case hex."""
        self._opened()
        return self._sha256.hexdigest()

    def keep(self) -> None:
        """End here; the next attempt goes on."""
        if not self.num_bytes:
            self.discard()
        if self._file is not None:
            self._checkpoint(self._file)
        self._close()

    def discard(self) -> None:
        """End here, without a trace."""
        self._close()
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def publish(self, modified_ns: int | None) -> None:
        """
        The part becomes the target, at once and for good.

        Its modification time is `modified_ns`; without one it is made from the bytes, so that the same bytes get the
        same time.
        """
        file = self._opened()
        time_ns = int(self._sha256.hexdigest()[:8], 16) * 10**9 if modified_ns is None else modified_ns
        os.utime(file.fileno(), ns=(time_ns, time_ns))
        os.fsync(file.fileno())
        self._close()
        self._path.replace(self._target)
        self._note.unlink(missing_ok=True)
        sync_folder(self._target.parent)

    def _opened(self) -> FileIO:
        """The open file; a part of an earlier attempt is cut to what is surely right, and read for its SHA-256."""
        if self._file is None:
            self._file = self._open(0)
            os.ftruncate(self._file.fileno(), self.num_bytes)
            while block := self._file.read(BLOCK_BYTES):
                if self.stopped.is_set():
                    raise InterruptedError
                self._sha256.update(block)
        return self._file

    def _open(self, flags: int) -> FileIO:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        return FileIO(descriptor, "r+b")

    def _checkpoint(self, file: FileIO) -> None:
        if self.identity is None:
            return
        os.fdatasync(file.fileno())
        self._note.write_text(json.dumps({"of": asdict(self.identity), "num_bytes": self.num_bytes}), "utf-8")
        self._num_noted = self.num_bytes

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


async def on_disk(part: PartFile, work: Callable[[], T]) -> T:
    """`work` in a thread, so that the event loop goes on. A cancelled caller waits until the thread has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(_typed, work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        part.stopped.set()
        await asyncio.gather(task, return_exceptions=True)
        raise
    finally:
        part.stopped.clear()


def _typed(work: Callable[[], T]) -> T:
    """The disk's errors in our terms. They are no part of ours, since their texts name paths of this PC."""
    try:
        return work()
    except OSError as error:
        refused = AudioDownloadError(NOT_WRITABLE, reason=type(error).__name__, errno=error.errno)
        found = disk_error(error) or refused
    raise found


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
