"""What only a folder on a disk can get wrong: links, devices, other disks, full disks, permissions."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.adapters import storage_local
from worker.adapters.storage_local import LocalStorage
from worker.exceptions import (
    AudioMissingError,
    AudioPathRefusedError,
    AudioTooBigError,
    DiskFailedError,
    DiskFullError,
    PCWorkerException,
    SupabaseStorageError,
)

RECORDING = bytes(range(256)) * 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "recordings"
    path.mkdir()
    (path / "a.wav").write_bytes(RECORDING)
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    return path


async def fetch(root: Path, audio_path: str, job: Path, *, max_bytes: int = 10**9) -> list[float]:
    shares: list[float] = []
    storage = LocalStorage(root)
    await storage.fetch(audio_path, job / "original", max_bytes=max_bytes, report=shares.append)
    return shares


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/a/path/of/this/pc")

    return fail


async def test_a_recording_on_the_same_disk_is_not_copied(root: Path, job: Path) -> None:
    await fetch(root, "a.wav", job)
    assert (job / "original").samefile(root / "a.wav")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
async def test_a_recording_on_another_disk_is_copied(
    root: Path, job: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    shares = await fetch(root, "a.wav", job)
    assert (job / "original").read_bytes() == RECORDING
    assert not (job / "original").samefile(root / "a.wav")
    assert (job / "original").stat().st_mtime_ns == (root / "a.wav").stat().st_mtime_ns
    assert len(shares) > 3
    assert shares == sorted(shares)


async def test_the_event_loop_goes_on_during_a_copy(root: Path, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy waits for the loop, which waits for nothing: were it in the loop, both would wait for ever."""
    loop_went_on = threading.Event()
    original = storage_local.copy

    def waiting_copy(*args: object) -> None:
        assert loop_went_on.wait(10)
        original(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    monkeypatch.setattr(storage_local, "copy", waiting_copy)
    task = asyncio.create_task(fetch(root, "a.wav", job))
    await asyncio.sleep(0)
    loop_went_on.set()
    await task


async def test_a_cancelled_copy_stops_and_leaves_nothing(
    root: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    monkeypatch.setattr(storage_local, "BLOCK_BYTES", 1)  # five million blocks: not done before it is cancelled
    begun = asyncio.Event()
    storage = LocalStorage(root)
    task = asyncio.create_task(
        storage.fetch("a.wav", job / "original", max_bytes=10**9, report=lambda share: begun.set())
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(job.iterdir()) == []


@pytest.mark.parametrize("link", ["file", "folder", "file through a link inside"])
async def test_links_that_lead_out_are_refused(root: Path, job: Path, link: str) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"not yours")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "inside").symlink_to("file")
    path = {"file": "file", "folder": "folder/secret"}.get(link, "inside")
    with pytest.raises(AudioPathRefusedError):
        await fetch(root, path, job)
    assert list(job.iterdir()) == []


async def test_nothing_is_put_through_a_link_that_leads_out(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "folder").symlink_to(outside)
    with pytest.raises(AudioPathRefusedError):
        await LocalStorage(root).put(root / "a.wav", "folder/deeper/b.wav")
    assert list(outside.iterdir()) == []


async def test_links_that_stay_inside_are_fine(root: Path, job: Path) -> None:
    (root / "b.wav").symlink_to("a.wav")
    await fetch(root, "b.wav", job)
    assert (job / "original").read_bytes() == RECORDING
    assert not (job / "original").is_symlink()


async def test_the_folder_itself_may_be_a_link(root: Path, job: Path) -> None:
    (root.parent / "link").symlink_to(root)
    await fetch(root.parent / "link", "a.wav", job)


async def test_a_link_to_itself_is_refused(root: Path, job: Path) -> None:
    (root / "b.wav").symlink_to("b.wav")
    with pytest.raises(AudioPathRefusedError):
        await fetch(root, "b.wav", job)


async def test_a_pipe_is_refused_and_not_waited_for(root: Path, job: Path) -> None:
    os.mkfifo(root / "b.wav")
    with pytest.raises(AudioPathRefusedError):
        await fetch(root, "b.wav", job)


async def test_a_disk_that_is_not_mounted_is_not_a_missing_recording(root: Path, job: Path) -> None:
    """Else every waiting meeting would fail within the hour."""
    with pytest.raises(SupabaseStorageError):
        await fetch(root / "gone", "a.wav", job)


async def test_a_recording_that_grows_beyond_the_limit_is_noticed(
    root: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(*_: object, **__: object) -> None:
        with (root / "a.wav").open("ab") as file:
            file.write(RECORDING)
        raise OSError(errno.EXDEV, "")

    monkeypatch.setattr(os, "link", growing)
    with pytest.raises(AudioTooBigError):
        await fetch(root, "a.wav", job, max_bytes=len(RECORDING))
    assert list(job.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EIO, DiskFailedError),
        (errno.ESTALE, SupabaseStorageError),
        (errno.EACCES, SupabaseStorageError),
    ],
)
async def test_errors_of_the_disk_are_typed(
    root: Path, job: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[PCWorkerException]
) -> None:
    """With nothing left behind, and no path of the PC in what people read."""
    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    monkeypatch.setattr(storage_local, "copy", failing(number))
    with pytest.raises(expected) as caught:
        await fetch(root, "a.wav", job)
    with pytest.raises(expected):
        await LocalStorage(root).put(root / "a.wav", "b.wav")
    assert "path/of/this" not in str(caught.value)
    assert list(job.iterdir()) == []
    assert [path.name for path in root.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("audio_path", ["folder", "a.wav/b.wav"])
async def test_nothing_is_put_where_something_else_is(root: Path, audio_path: str) -> None:
    (root / "folder").mkdir()
    with pytest.raises(AudioPathRefusedError):
        await LocalStorage(root).put(root / "a.wav", audio_path)


async def test_a_missing_job_folder_is_not_a_missing_recording(root: Path, job: Path) -> None:
    """It was swept away meanwhile: the meeting must not wait for its audio because of it."""
    job.rmdir()
    with pytest.raises(PCWorkerException) as caught:
        await fetch(root, "a.wav", job)
    assert not isinstance(caught.value, AudioMissingError)
