"""What putting a recording into Supabase Storage promises, on a line that breaks and a server that refuses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_storage import FakeStorage, SeenRequest
from tests.support.fake_storage_access import BUCKET
from tests.support.fake_storage_faults import (
    Answer,
    Before,
    Cut,
    FailedFinish,
    Fault,
    LostAnswer,
    Served,
    Stall,
    access_denied,
    database_timeout,
    html_200,
    html_502,
    in_400_timeout,
    in_400_unavailable,
    internal_error,
    too_many_connections,
)
from tests.support.fake_storage_objects import Bucket
from tests.support.project_keys import token
from worker.adapters.download_source import Pace
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import (
    AudioCorruptedError,
    AudioMissingError,
    AudioPathRefusedError,
    AudioTooBigError,
    SupabaseAccessError,
    SupabaseStorageError,
)

ROOT = Path(__file__).parents[2]
SMALL = bytes(range(256)) * 400
PIECE_BYTES = 6 << 20
LARGE = b"".join(index.to_bytes(8, "big") for index in range(20 * 1024 * 128))
"""20 MB, each 8 bytes of it another number, so that no piece fits anywhere else."""

HASTY = Pace(first_wait_s=0.001, longest_wait_s=0.002, no_progress_s=30.0)
GIVING_UP = Pace(first_wait_s=0.001, longest_wait_s=0.002, no_progress_s=0.05)
IMPATIENT = Pace(stall_s=0.2, first_byte_s=0.2, connect_s=0.2, first_wait_s=0.001, longest_wait_s=0.002)

DEAF_PROBE = """
import asyncio, sys
from pathlib import Path
from worker.adapters.download_source import Pace
from worker.adapters.storage_supabase import SupabaseStorage

pace = Pace(stall_s=0.2, first_byte_s=60.0, no_progress_s=0.0)
storage = SupabaseStorage(sys.argv[1], sys.argv[2], pace=pace)
try:
    asyncio.run(storage.put(Path(sys.argv[3]), "lab/a.wav"))
except Exception as error:
    print(type(error).__name__)
"""

MEMORY_PROBE = """
import asyncio, resource, sys
from pathlib import Path
from worker.adapters.storage_supabase import SupabaseStorage

async def main():
    storage = SupabaseStorage(sys.argv[1], sys.argv[2])
    await storage.put(Path(sys.argv[3]), "lab/first.wav")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await storage.put(Path(sys.argv[4]), "lab/second.wav")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)

asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[FakeStorage]:
    with FakeStorage() as server:
        yield server


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(SMALL)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def storage_at(server: FakeStorage, pace: Pace = HASTY) -> SupabaseStorage:
    return SupabaseStorage(server.url, token("service_role"), pace=pace)


def sent_from(request: SeenRequest) -> int:
    return int(request.headers["upload-offset"])


async def run_probe(code: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


# --- what arrives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [SMALL, b"", LARGE[:PIECE_BYTES], LARGE[: PIECE_BYTES + 1], LARGE])
async def test_the_bytes_arrive_with_their_checksum_and_type(
    server: FakeStorage, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "source").write_bytes(content)
    await storage_at(server).put(tmp_path / "source", "lab/a meeting/audio.m4a")
    found = server.objects["lab/a meeting/audio.m4a"]
    assert found.read_bytes() == content
    assert found.metadata == {"sha256": hashlib.sha256(content).hexdigest()}
    assert found.content_type == "audio/mp4"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.WAV", "audio/wav"),
        ("a.b.mp3", "audio/mpeg"),
        ("a.webm", "video/webm"),
        ("wav", "application/octet-stream"),
        ("a.txt", "application/octet-stream"),
    ],
)
async def test_the_type_follows_the_extension(server: FakeStorage, small: Path, name: str, content_type: str) -> None:
    await storage_at(server).put(small, name)
    assert server.objects[name].content_type == content_type


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_an_object_of_that_name_is_replaced(server: FakeStorage, tmp_path: Path, content: bytes) -> None:
    before = server.put_object("lab/a.wav", b"before")
    (tmp_path / "source").write_bytes(content)
    await storage_at(server).put(tmp_path / "source", "lab/a.wav")
    after = server.objects["lab/a.wav"]
    assert after.read_bytes() == content
    assert (after.id, after.version == before.version) == (before.id, False)


async def test_a_large_file_goes_in_the_pieces_that_supabase_asks_for(server: FakeStorage, large: Path) -> None:
    shares: list[float] = []
    await storage_at(server).put(large, "lab/a.wav", report=shares.append)
    assert [request.num_received for request in server.seen("patch")] == [PIECE_BYTES] * 3 + [len(LARGE) % PIECE_BYTES]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 3


async def test_nothing_is_asked_of_the_address_that_the_server_calls_its_own(server: FakeStorage, large: Path) -> None:
    """Storage behind a proxy names https and a host that it only guesses."""
    server.own_address = "https://storage.invalid/somewhere"
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].size_bytes == len(LARGE)


# --- a line that breaks ------------------------------------------------------------------------------------------


async def test_a_cut_upload_goes_on_where_the_server_is(server: FakeStorage, large: Path) -> None:
    cuts = [1, 3 << 20, PIECE_BYTES - 1, 0, 2 << 20, 5 << 20]
    faults: list[Fault] = [fault for num_bytes in cuts for fault in (Cut(num_bytes), Served())]
    server.faults.next(*faults, on="patch")
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE
    assert sum(request.num_received for request in server.seen("patch")) == len(LARGE)
    assert len(server.seen("create")) == 1
    starts = [sent_from(request) for request in server.seen("patch")]
    assert starts == sorted(starts)


PASSING = {
    "HTML 502": html_502(),
    "a page in place of Storage": html_200(),
    "empty 503": Answer(503),
    "too many connections": too_many_connections(),
    "internal": internal_error(),
    "database timeout": database_timeout(),
    "database timeout in a 400": in_400_timeout(),
    "read only in a 400": in_400_unavailable(),
    "locked": Answer(423, "locked", "text/plain"),
    "cut": Cut(0),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
async def test_a_small_file_is_sent_again_when_that_may_help(server: FakeStorage, small: Path, fault: Fault) -> None:
    server.faults.next(fault, fault, on="upload")
    await storage_at(server).put(small, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == SMALL
    assert len(server.seen("upload")) == 3


@pytest.mark.parametrize("operation", ["create", "offset", "patch"])
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
async def test_each_request_of_a_large_file_is_repeated_when_that_may_help(
    server: FakeStorage, large: Path, operation: str, fault: Fault
) -> None:
    server.faults.next(Served(), Cut(1000), on="patch")
    server.faults.next(*[Served()] * (2 if operation == "patch" else 0), fault, fault, on=operation)
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE
    assert server.faults.waiting(on=operation) == 0


async def test_what_never_passes_is_given_up(server: FakeStorage, small: Path, large: Path) -> None:
    server.faults.always(html_502(), on="upload")
    server.faults.always(Cut(0), on="patch")
    for source in (small, large):
        with pytest.raises(SupabaseStorageError):
            await storage_at(server, GIVING_UP).put(source, "lab/a.wav")
    assert server.objects == {}


async def test_a_server_that_is_not_there(small: Path) -> None:
    with pytest.raises(SupabaseStorageError, match="Check the network"):
        await SupabaseStorage("http://127.0.0.1:9", token("service_role"), pace=GIVING_UP).put(small, "lab/a.wav")


@pytest.mark.parametrize("operation", ["create", "patch"])
async def test_silence_is_a_cut(server: FakeStorage, large: Path, operation: str) -> None:
    server.faults.next(Stall(1000), on=operation)
    await storage_at(server, IMPATIENT).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE


async def test_a_server_that_takes_nothing_more(small: Path) -> None:
    """It accepts the connection and reads no byte. In a process of its own: a socket with unsent bytes is left over."""
    small.write_bytes(bytes(PIECE_BYTES))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = deaf.getsockname()
        told = await run_probe(DEAF_PROBE, f"http://{host}:{port}", token("service_role"), str(small))
    assert told.strip() == "SupabaseStorageError"


async def test_the_last_answer_is_lost(server: FakeStorage, large: Path) -> None:
    """The object is there, and nothing is sent again."""
    server.faults.next(*[Served()] * 3, LostAnswer(), on="patch")
    await storage_at(server).put(large, "lab/a.wav")
    assert len(server.seen("patch")) == 4
    assert server.objects["lab/a.wav"].read_bytes() == LARGE


async def test_all_bytes_are_there_and_no_object_was_made(server: FakeStorage, large: Path) -> None:
    """The database failed in the last moment: the server counts the bytes, and would take no more."""
    server.faults.next(*[Served()] * 3, FailedFinish(), on="patch")
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE
    assert len(server.seen("create")) == 2


async def test_an_upload_that_the_server_forgot_begins_anew(server: FakeStorage, large: Path) -> None:
    server.faults.next(Served(), Before(server.resumables.clear), on="patch")
    await storage_at(server).put(large, "lab/a.wav")
    assert server.objects["lab/a.wav"].read_bytes() == LARGE
    assert len(server.seen("create")) == 2


async def test_a_server_that_always_forgets_is_given_up(server: FakeStorage, large: Path) -> None:
    server.faults.always(Before(server.resumables.clear), on="patch")
    with pytest.raises(SupabaseStorageError, match="lost the upload several times"):
        await storage_at(server).put(large, "lab/a.wav")


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lab/ä.wav", "lab/a?.wav", "a%20b", "a#b", "a~b", "../a", "a//b", "/a", "", "a\n"])
async def test_names_that_no_object_can_have(server: FakeStorage, small: Path, name: str) -> None:
    with pytest.raises(AudioPathRefusedError):
        await storage_at(server).put(small, name)
    assert server.requests == []


@pytest.mark.parametrize("which", ["small", "large"])
async def test_the_server_refuses_the_name(server: FakeStorage, request: pytest.FixtureRequest, which: str) -> None:
    """A newer server may be stricter than we know."""
    body = {"statusCode": "400", "error": "InvalidKey", "message": "Invalid key: lab/a.wav"}
    server.faults.next(Answer(400, json.dumps(body)), on="upload")
    server.faults.next(Answer(400, "Invalid key: lab/a.wav", "text/plain", {"Tus-Resumable": "1.0.0"}), on="create")
    with pytest.raises(AudioPathRefusedError):
        await storage_at(server).put(request.getfixturevalue(which), "lab/a.wav")
    assert len(server.requests) == 1


@pytest.mark.parametrize("which", ["small", "large"])
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
    server: FakeStorage, request: pytest.FixtureRequest, which: str, role: str, expires_in_s: float, words: str
) -> None:
    """At once, without repeating."""
    storage = SupabaseStorage(server.url, token(role, expires_in_s=expires_in_s), pace=HASTY)
    with pytest.raises(SupabaseAccessError, match=words):
        await storage.put(request.getfixturevalue(which), "lab/a.wav")
    assert len(server.requests) == 1
    assert server.objects == {}


async def test_a_key_that_is_withdrawn_meanwhile(server: FakeStorage, large: Path) -> None:
    server.faults.next(Served(), access_denied(), on="patch")
    with pytest.raises(SupabaseAccessError):
        await storage_at(server).put(large, "lab/a.wav")


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_too_large_for_the_bucket(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source").write_bytes(content)
    with FakeStorage(buckets=[Bucket(BUCKET, file_size_limit=len(content) - 1)]) as server:
        with pytest.raises(AudioTooBigError, match="file size limit"):
            await storage_at(server).put(tmp_path / "source", "lab/a.wav")
        assert len(server.requests) == 1


async def test_too_large_for_the_gateway(server: FakeStorage, small: Path) -> None:
    server.faults.next(Answer(413, "<h1>Request Entity Too Large</h1>", "text/html"), on="upload")
    with pytest.raises(AudioTooBigError, match="file size limit"):
        await storage_at(server).put(small, "lab/a.wav")


@pytest.mark.parametrize("which", ["small", "large"])
async def test_a_bucket_that_takes_other_types_only(request: pytest.FixtureRequest, which: str) -> None:
    with (
        FakeStorage(buckets=[Bucket(BUCKET, allowed_mime_types=("audio/mpeg",))]) as server,
        pytest.raises(SupabaseStorageError, match="type"),
    ):
        await storage_at(server).put(request.getfixturevalue(which), "lab/a.wav")


@pytest.mark.parametrize("which", ["small", "large"])
async def test_a_bucket_that_is_not_there(request: pytest.FixtureRequest, which: str) -> None:
    with FakeStorage(buckets=[]) as server, pytest.raises(SupabaseStorageError, match="migrate"):
        await storage_at(server).put(request.getfixturevalue(which), "lab/a.wav")


# --- the source --------------------------------------------------------------------------------------------------


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


# --- and besides -------------------------------------------------------------------------------------------------


async def test_a_cancelled_upload_ends_and_leaves_no_object(server: FakeStorage, large: Path) -> None:
    stall = Stall(1000)
    server.faults.next(Served(), stall, on="patch")
    task = asyncio.create_task(storage_at(server).put(large, "lab/a.wav"))
    await asyncio.to_thread(stall.started.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.objects == {}


async def test_no_address_and_no_key_in_what_is_said(server: FakeStorage, small: Path) -> None:
    server.faults.always(html_502(), on="upload")
    with pytest.raises(SupabaseStorageError) as caught:
        await storage_at(server, GIVING_UP).put(small, "lab/a.wav")
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    told = "".join(f"{error}{getattr(error, 'details', '')}" for error in chain)
    assert server.url not in told
    assert token("service_role").split(".")[0] not in told


async def test_memory_does_not_grow_with_the_file(server: FakeStorage, tmp_path: Path) -> None:
    """The first upload pays for what is loaded once; the second is ten times as long."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path, num_blocks in ((first, 20), (second, 200)):
        with path.open("wb") as file:
            for index in range(num_blocks):
                file.write(bytes([index]) * (1 << 20))
    grown_bytes = int(await run_probe(MEMORY_PROBE, server.url, token("service_role"), str(first), str(second)))
    assert grown_bytes < 10 << 20
    assert server.objects["lab/second.wav"].size_bytes == 200 << 20
