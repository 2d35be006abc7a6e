"""What putting a recording into Supabase Storage promises when the server refuses it, or when the file changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_access import BUCKET
from tests.support.fake_storage_faults import (
    Answer,
    Before,
    Served,
    access_denied,
)
from tests.support.fake_storage_objects import Bucket
from tests.support.project_keys import token
from tests.support.storage_uploads import (
    HASTY,
    LARGE,
    SMALL,
    storage_at,
)
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import (
    AudioCorruptedError,
    AudioMissingError,
    AudioPathRefusedError,
    AudioTooBigError,
    SupabaseAccessError,
    SupabaseStorageError,
)


@pytest.fixture
def server() -> Iterator[FakeStorage]:
    with FakeStorage() as server:
        yield server


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Small files travel in one request, large ones in several."""
    path = tmp_path / "source"
    path.write_bytes(request.param)
    return path


@pytest.mark.parametrize("name", ["lab/ä.wav", "lab/a?.wav", "a%20b", "a#b", "a~b", "../a", "a//b", "/a", "", "a\n"])
async def test_names_that_no_object_can_have(server: FakeStorage, small: Path, name: str) -> None:
    with pytest.raises(AudioPathRefusedError):
        await storage_at(server).put(small, name)
    assert server.requests == []


async def test_the_server_refuses_the_name(server: FakeStorage, source: Path) -> None:
    """A newer server may be stricter than we know."""
    body = {"statusCode": "400", "error": "InvalidKey", "message": "Invalid key: lab/a.wav"}
    server.faults.next(Answer(400, json.dumps(body)), on="upload")
    server.faults.next(Answer(400, "Invalid key: lab/a.wav", "text/plain", {"Tus-Resumable": "1.0.0"}), on="create")
    with pytest.raises(AudioPathRefusedError):
        await storage_at(server).put(source, "lab/a.wav")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("role", "expires_in_s", "words"),
    [
        ("meeting_worker", 60, "may not upload"),
        ("anon", 60, "may not upload"),
        ("authenticated", 60, "may not upload"),
        ("service_role", -60, "expired"),
        ("no_such_role", 60, "role"),
    ],
)
async def test_a_key_that_may_not(
    server: FakeStorage, source: Path, role: str, expires_in_s: float, words: str
) -> None:
    """At once, without repeating."""
    storage = SupabaseStorage(server.url, token(role, expires_in_s=expires_in_s), pace=HASTY)
    with pytest.raises(SupabaseAccessError, match=words):
        await storage.put(source, "lab/a.wav")
    assert len(server.requests) == 1
    assert server.objects == {}


async def test_a_key_that_is_withdrawn_meanwhile(server: FakeStorage, large: Path) -> None:
    server.faults.next(Served(), access_denied(), on="patch")
    with pytest.raises(SupabaseAccessError):
        await storage_at(server).put(large, "lab/a.wav")


async def test_too_large_for_the_bucket(source: Path) -> None:
    with FakeStorage(buckets=[Bucket(BUCKET, file_size_limit=source.stat().st_size - 1)]) as server:
        with pytest.raises(AudioTooBigError, match="file size limit"):
            await storage_at(server).put(source, "lab/a.wav")
        assert len(server.requests) == 1


async def test_too_large_for_the_gateway(server: FakeStorage, small: Path) -> None:
    server.faults.next(Answer(413, "<h1>Request Entity Too Large</h1>", "text/html"), on="upload")
    with pytest.raises(AudioTooBigError, match="file size limit"):
        await storage_at(server).put(small, "lab/a.wav")


async def test_a_bucket_that_takes_other_types_only(source: Path) -> None:
    with (
        FakeStorage(buckets=[Bucket(BUCKET, allowed_mime_types=("audio/mpeg",))]) as server,
        pytest.raises(SupabaseStorageError, match="type"),
    ):
        await storage_at(server).put(source, "lab/a.wav")


async def test_a_bucket_that_is_not_there(source: Path) -> None:
    with FakeStorage(buckets=[]) as server, pytest.raises(SupabaseStorageError, match="migrate"):
        await storage_at(server).put(source, "lab/a.wav")


async def test_a_source_that_is_no_file(server: FakeStorage, tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(AudioMissingError):
            await storage_at(server).put(source, "lab/a.wav")
    assert server.requests == []


@pytest.mark.parametrize("change", ["more", "less", "others"])
async def test_a_source_that_is_still_being_written(server: FakeStorage, large: Path, change: str) -> None:
    """Complete or not at all: bytes of two states never become an object."""

    def write() -> None:
        with large.open("r+b") as file:
            if change == "less":
                file.truncate(len(LARGE) - 1)
            else:
                file.seek(0, 2 if change == "more" else 0)
                file.write(b"something else")

    server.faults.next(Served(), Before(write), on="patch")
    with pytest.raises(AudioCorruptedError, match="changed while it was uploaded"):
        await storage_at(server).put(large, "lab/a.wav")
    assert server.objects == {}


async def test_a_source_that_is_replaced_by_another_file(server: FakeStorage, large: Path, small: Path) -> None:
    """What was opened is uploaded."""
    server.faults.next(Served(), Before(lambda: small.replace(large)), on="patch")
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE
