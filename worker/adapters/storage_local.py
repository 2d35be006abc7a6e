"""
Recordings in a local folder, standing in for the bucket.

`audio_path` is a relative path inside the folder, as in a bucket. It comes from a row that anybody may have written, so
nothing it says may lead out: not `..`, not an absolute path, not a symbolic link.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from uuid import uuid4

from worker.audio_paths import split_audio_path
from worker.disk_errors import disk_error
from worker.exceptions import (
    AudioMissingError,
    AudioPathRefusedError,
    AudioTooBigError,
    PCWorkerException,
    SupabaseStorageError,
)
from worker.ports import Report, unheard

BLOCK_BYTES = 1 << 20


class LocalStorage:
    """Implements `ports.Storage` on the folder `root`, which must be there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        """See `ports.Storage`. A hard link where the file system allows it, so that nothing big is copied twice."""
        parts = split_audio_path(address)
        loop = asyncio.get_running_loop()

        def copied(share: float) -> None:
            loop.call_soon_threadsafe(report, share)

        def work(stopped: Event) -> None:
            with self._opened(parts) as descriptor:
                if os.fstat(descriptor).st_size > max_bytes:
                    raise AudioTooBigError
                with appearing(target) as part:
                    if not linked(descriptor, part):
                        copy(descriptor, part, max_bytes, copied, stopped)

        await in_thread(work)
        report(1.0)

    async def put(self, source: Path, audio_path: str, *, report: Report = unheard) -> None:
        """See `ports.Storage`. A recording that already has this name is replaced."""
        parts = split_audio_path(audio_path)
        loop = asyncio.get_running_loop()

        def copied(share: float) -> None:
            loop.call_soon_threadsafe(report, share)

        def work(stopped: Event) -> None:
            if not source.is_file():
                raise AudioMissingError
            folder = self._folder_for(parts)
            with source.open("rb") as file, appearing(folder / parts[-1]) as part:
                copy(file.fileno(), part, sys.maxsize, copied, stopped)

        await in_thread(work)
        report(1.0)

    @contextmanager
    def _opened(self, parts: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of the recording. Where it leads is asked of the open file, so no link can be swapped in."""
        root = self._real_root()
        try:
            descriptor = os.open(root.joinpath(*parts), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AudioMissingError from error
        try:
            if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root):
                raise AudioPathRefusedError
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise AudioMissingError
            if not stat.S_ISREG(mode):
                raise AudioPathRefusedError("The meeting's audio_path names something that is not a file.")
            yield descriptor
        finally:
            os.close(descriptor)

    def _folder_for(self, parts: tuple[str, ...]) -> Path:
        root = self._real_root()
        folder = root.joinpath(*parts[:-1])
        if not folder.resolve().is_relative_to(root) or (folder / parts[-1]).is_dir():
            raise AudioPathRefusedError
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise AudioPathRefusedError from error
        return folder

    def _real_root(self) -> Path:
        try:
            return self._root.resolve(strict=True)
        except OSError as error:
            raise SupabaseStorageError(
                "The folder with the recordings is not there. Check that its disk is mounted.", reason=str(error.errno)
            ) from error


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; at the end it becomes `target`, or disappears if anything went wrong."""
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # after success too: renaming a link over its own twin leaves both


def linked(descriptor: int, part: Path) -> bool:
    """Whether a hard link could be made: another file system, or a protected file of somebody else, says no."""
    proc = os.open("/proc/self/fd", os.O_PATH)  # only with a directory does CPython 3.11 follow the link (linkat)
    try:
        os.link(str(descriptor), part, src_dir_fd=proc, follow_symlinks=True)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOENT):
            return False
        raise
    finally:
        os.close(proc)
    return True


def copy(descriptor: int, part: Path, max_bytes: int, report: Report, stopped: Event) -> None:
    size_bytes = os.fstat(descriptor).st_size
    num_copied = 0
    with part.open("xb", buffering=0) as file:
        while block := os.read(descriptor, BLOCK_BYTES):
            num_copied += len(block)
            if num_copied > max_bytes:
                raise AudioTooBigError
            if stopped.is_set():
                raise InterruptedError
            file.write(block)
            report(min(1.0, num_copied / max(size_bytes, 1)))
        os.fsync(file.fileno())
    found = os.fstat(descriptor)
    os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))  # the next attempt can tell that it is the same recording


async def in_thread(work: Callable[[Event], None]) -> None:
    """Runs `work` beside the event loop, with typed errors; on cancellation it is told to stop, and waited for."""
    stopped = Event()

    def run() -> None:
        with typed_errors():
            work(stopped)

    task = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.gather(task, return_exceptions=True)
        raise


@contextmanager
def typed_errors() -> Iterator[None]:
    """Nothing foreign leaves the storage."""
    try:
        yield
    except PCWorkerException:
        raise
    except OSError as error:
        if (of_disk := disk_error(error)) is not None:
            raise of_disk from error
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO):
            raise AudioPathRefusedError from error
        raise SupabaseStorageError(reason=type(error).__name__, errno=error.errno) from error
