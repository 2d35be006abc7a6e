"""
What every place for recordings promises. A new storage joins by an entry in STORAGES.

`fresh(folder)` makes an empty storage that may use `folder` while it is open. A storage may refuse names that others
take (a bucket knows ASCII only); those stand in REFUSED_NAMES, and are refused in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from worker.adapters.storage_local import LocalStorage
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import AudioMissingError, AudioPathRefusedError, AudioTooBigError
from worker.ports import Storage
from worker.testing.storage_memory import MemoryStorage

RECORDING = bytes(range(256)) * 5000
ANY = 10**9


@contextmanager
def fresh_local(folder: Path) -> Iterator[Storage]:
    (folder / "recordings").mkdir()
    yield LocalStorage(folder / "recordings")


@contextmanager
def fresh_memory(_folder: Path) -> Iterator[Storage]:
    yield MemoryStorage()


@contextmanager
def fresh_supabase(_folder: Path) -> Iterator[Storage]:
    with FakeStorage() as fake:
        yield SupabaseStorage(fake.url, project_keys.token("service_role"))


STORAGES: dict[str, Callable[[Path], AbstractContextManager[Storage]]] = {
    "local": fresh_local,
    "memory": fresh_memory,
    "supabase": fresh_supabase,
}

NAMES = ["a.wav", "lab/2024/a b.wav", "user-1/Größe 会议.m4a", "lab/.hidden", "a..b/c...wav", "-x", "a+b&c=d.mp3"]
REFUSED_NAMES = {"supabase": {"user-1/Größe 会议.m4a"}}


@pytest.fixture(params=STORAGES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def storage(kind: str, tmp_path: Path) -> Iterator[Storage]:
    with STORAGES[kind](tmp_path) as storage:
        yield storage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(RECORDING)
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder into which is fetched."""
    path = tmp_path / "job"
    path.mkdir()
    return path


async def fetch(storage: Storage, audio_path: str, target: Path, *, max_bytes: int = ANY) -> list[float]:
    shares: list[float] = []
    await storage.fetch(audio_path, target, max_bytes=max_bytes, report=shares.append)
    return shares


async def test_a_copy_reports_how_far_it_is(storage: Storage, source: Path) -> None:
    shares: list[float] = []
    await storage.put(source, "a.wav", report=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("audio_path", NAMES)
async def test_what_was_put_is_fetched(kind: str, storage: Storage, source: Path, job: Path, audio_path: str) -> None:
    """Or its name is refused, in words, by those that cannot keep it; on the way out too."""
    if audio_path in REFUSED_NAMES.get(kind, ()):
        for refused in (storage.put(source, audio_path), fetch(storage, audio_path, job / "original")):
            with pytest.raises(AudioPathRefusedError, match="plain name"):
                await refused
        return
    await storage.put(source, audio_path)
    await fetch(storage, audio_path, job / "original")
    assert (job / "original").read_bytes() == RECORDING
    assert [path.name for path in job.iterdir()] == ["original"]


async def test_progress_ends_at_one(storage: Storage, source: Path, job: Path) -> None:
    await storage.put(source, "a.wav")
    shares = await fetch(storage, "a.wav", job / "original")
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


async def test_a_recording_stays_when_it_was_fetched(storage: Storage, source: Path, job: Path) -> None:
    """The worker removes its job folder afterwards; the next attempt fetches again."""
    await storage.put(source, "a.wav")
    for name in ("one", "two"):
        await fetch(storage, "a.wav", job / name)
        (job / name).unlink()


async def test_fetching_again_replaces_the_target(storage: Storage, source: Path, job: Path) -> None:
    """Also when nothing has changed: the second attempt at a meeting fetches what the first one did."""
    (job / "original").write_bytes(b"an older attempt")
    await storage.put(source, "a.wav")
    for _ in range(2):
        await fetch(storage, "a.wav", job / "original")
    assert (job / "original").read_bytes() == RECORDING
    assert [path.name for path in job.iterdir()] == ["original"]


async def test_putting_again_replaces_the_recording(storage: Storage, source: Path, job: Path) -> None:
    """What was fetched before stays as it was."""
    await storage.put(source, "a.wav")
    await fetch(storage, "a.wav", job / "before")
    source.write_bytes(b"another take")
    await storage.put(source, "a.wav")
    await fetch(storage, "a.wav", job / "after")
    assert (job / "before").read_bytes() == RECORDING
    assert (job / "after").read_bytes() == b"another take"


async def test_what_was_put_does_not_change_with_its_source(storage: Storage, source: Path, job: Path) -> None:
    await storage.put(source, "a.wav")
    with source.open("r+b") as file:
        file.write(b"changed afterwards")
    await fetch(storage, "a.wav", job / "original")
    assert (job / "original").read_bytes() == RECORDING


async def test_an_empty_recording_arrives_empty(storage: Storage, source: Path, job: Path) -> None:
    """Whether that is an error is for the decoder to say."""
    source.write_bytes(b"")
    await storage.put(source, "a.wav")
    await fetch(storage, "a.wav", job / "original")
    assert (job / "original").read_bytes() == b""


@pytest.mark.parametrize("audio_path", ["b.wav", "lab/b.wav", "a.wav/b.wav", "lab"])
async def test_what_is_not_there_is_missing(storage: Storage, source: Path, job: Path, audio_path: str) -> None:
    """A folder's name is no recording either, as in a bucket."""
    await storage.put(source, "a.wav")
    await storage.put(source, "lab/a.wav")
    with pytest.raises(AudioMissingError):
        await fetch(storage, audio_path, job / "original")
    assert list(job.iterdir()) == []


async def test_a_source_that_is_not_there_is_missing(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(AudioMissingError):
        await storage.put(tmp_path / "nowhere", "a.wav")


async def test_too_big(storage: Storage, source: Path, job: Path) -> None:
    await storage.put(source, "a.wav")
    with pytest.raises(AudioTooBigError):
        await fetch(storage, "a.wav", job / "original", max_bytes=len(RECORDING) - 1)
    assert list(job.iterdir()) == []
    await fetch(storage, "a.wav", job / "original", max_bytes=len(RECORDING))


ODD_PATHS = {
    "empty": "",
    "parent": "..",
    "above": "../secret",
    "above by a detour": "lab/../../secret",
    "inside by a detour": "lab/../a.wav",
    "absolute": "/etc/passwd",
    "here": ".",
    "dot segment": "lab/./a.wav",
    "double slash": "lab//a.wav",
    "trailing slash": "lab/",
    "NUL": "a\0.wav",
    "newline": "a\n.wav",
    "backslash": "..\\secret",
    "half a surrogate pair": "a\udc80.wav",
    "long name": "a" * 256,
    "long name in bytes": "ä" * 128,
    "long path": "/".join(["a" * 100] * 11),
}


@pytest.mark.parametrize("audio_path", ODD_PATHS.values(), ids=ODD_PATHS)
async def test_odd_paths_are_refused(storage: Storage, source: Path, job: Path, audio_path: str) -> None:
    """On the way in as on the way out, and without a trace."""
    (job.parent / "secret").write_bytes(b"not yours")
    before = set(job.parent.rglob("*"))
    with pytest.raises(AudioPathRefusedError):
        await storage.put(source, audio_path)
    with pytest.raises(AudioPathRefusedError):
        await fetch(storage, audio_path, job / "original")
    assert set(job.parent.rglob("*")) == before


async def test_the_longest_name_will_do(storage: Storage, source: Path, job: Path) -> None:
    await storage.put(source, "lab/" + "a" * 255)
    await fetch(storage, "lab/" + "a" * 255, job / "original")


async def test_many_at_once(storage: Storage, source: Path, job: Path) -> None:
    """Whoever puts and fetches the same name meanwhile, a recording is always whole."""
    await storage.put(source, "a.wav")
    puts = [storage.put(source, "a.wav") for _ in range(10)]
    fetches = [fetch(storage, "a.wav", job / str(index)) for index in range(10)]
    await asyncio.gather(*puts, *fetches)
    assert {path.read_bytes() for path in job.iterdir()} == {RECORDING}
