"""What putting a recording into Supabase Storage promises, on a line that breaks and a server that refuses."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_storage import FakeStorage, SeenRequest
from tests.support.fake_storage_faults import (
    Answer,
    Before,
    Cut,
    FailedFinish,
    Fault,
    LostAnswer,
    Served,
    Stall,
    database_timeout,
    html_200,
    html_502,
    in_400_timeout,
    in_400_unavailable,
    internal_error,
    too_many_connections,
)
from tests.support.project_keys import token
from tests.support.storage_uploads import (
    DEAF_PROBE,
    GIVING_UP,
    IMPATIENT,
    LARGE,
    MEMORY_PROBE,
    PIECE_BYTES,
    SMALL,
    run_probe,
    storage_at,
)
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import (
    SupabaseStorageError,
)


@pytest.fixture
def server() -> Iterator[FakeStorage]:
    with FakeStorage() as server:
        yield server


def sent_from(request: SeenRequest) -> int:
    return int(request.headers["upload-offset"])


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
    assert grown_bytes < 4 * PIECE_BYTES
    assert server.objects["lab/second.wav"].size_bytes == 200 << 20
