"""That FakeStorage sends bytes as the real server was seen to, and acts out the faults that a test asks for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_access import BUCKET, PREFIX
from tests.support.fake_storage_faults import (
    Before,
    Cut,
    LyingLength,
    LyingRange,
    RangeIgnored,
    Served,
    Stall,
    Truncated,
    gateway_404,
    html_502,
    in_400_timeout,
)
from tests.support.project_keys import token
from tests.support.storage_calls import CONTENT, MISSING, NAME, Caller, said


@pytest.fixture
def server() -> Iterator[FakeStorage]:
    with FakeStorage() as server:
        server.put_object(NAME, CONTENT, metadata={"sha256": "ab"})
        yield server


@pytest.fixture
async def call(server: FakeStorage) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        yield Caller(http)


async def test_the_headers_of_a_download(call: Caller) -> None:
    signed = await call.signed()
    whole, part = await call("GET", signed), await call("GET", signed, headers={"Range": "bytes=2-5"})
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert (part.status_code, part.content) == (206, CONTENT[2:6])
    assert part.headers["content-range"] == "bytes 2-5/24"
    assert whole.headers["etag"] == part.headers["etag"] == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert whole.headers["accept-ranges"] == "bytes"
    assert "cache-control" not in whole.headers
    head = await call("HEAD", signed)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "24", b"")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=6-", CONTENT[6:]),
        ("bytes=0-", CONTENT),
        ("bytes=-5", CONTENT[-5:]),
        ("bytes=20-9999", CONTENT[20:]),
        ("bytes=24-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("chunks=1-2", None),
    ],
)
async def test_ranges(call: Caller, asked: str, expected: bytes | None) -> None:
    """A refused range comes without Content-Range."""
    answer = await call("GET", await call.signed(), headers={"Range": asked})
    if expected is None:
        assert said(answer) == (416, "416", "invalid_range", "InvalidRange")
        assert "content-range" not in answer.headers
    else:
        assert (answer.status_code, answer.content) == (206, expected)


async def test_other_backends_fail_at_the_end(call: Caller, server: FakeStorage) -> None:
    server.past_the_end_status = 500
    answer = await call("GET", await call.signed(), headers={"Range": "bytes=24-"})
    assert said(answer) == (500, "500", "Internal", "InternalError")


async def test_an_empty_object_has_no_ranges(call: Caller, server: FakeStorage) -> None:
    server.put_object(NAME, b"")
    signed = await call.signed()
    assert (await call("GET", signed)).content == b""
    assert (await call("GET", signed, headers={"Range": "bytes=0-"})).status_code == 416


async def test_if_range_is_ignored(call: Caller, server: FakeStorage) -> None:
    """The same address then gives the rest of another recording."""
    signed = await call.signed()
    etag = (await call("GET", signed)).headers["etag"]
    server.put_object(NAME, CONTENT[::-1])
    answer = await call("GET", signed, headers={"Range": "bytes=6-", "If-Range": etag})
    assert (answer.status_code, answer.content) == (206, CONTENT[::-1][6:])
    assert answer.headers["etag"] != etag
    unchanged = await call("GET", signed, headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_a_row_without_its_file(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    server.lose_file(NAME)
    assert said(await call("GET", signed)) == (500, "500", "Internal", "InternalError")
    assert (await call("GET", f"/object/info/{BUCKET}/{NAME}", token("service_role"))).json()["size"] == 24
    server.remove_object(NAME)
    assert said(await call("GET", signed)) == MISSING


async def test_a_huge_object_takes_no_room(call: Caller, server: FakeStorage) -> None:
    block = bytes(range(251))
    found = server.put_repeated("huge.wav", block, 1_000_003)
    signed = await call.signed(f"/object/sign/{BUCKET}/huge.wav")
    whole = (await call("GET", signed)).content
    assert whole == (block * 4000)[:1_000_003]
    assert (await call("GET", signed, headers={"Range": "bytes=123456-"})).content == whole[123456:]
    assert found.etag == f'"{hashlib.md5(whole).hexdigest()}"'
    assert found.path.stat().st_size == 0


# --- faults ------------------------------------------------------------------------------------------------------


async def test_a_cut_comes_after_exactly_so_many_bytes(call: Caller, server: FakeStorage) -> None:
    content = bytes(3_000_000)
    server.put_object(NAME, content)
    signed = await call.signed()
    server.faults.next(Cut(after_bytes=1_234_567))
    assert await num_received(call, signed) == 1_234_567
    assert (await call("GET", signed)).content == content
    assert [request.num_sent for request in server.seen("download")] == [1_234_567, 3_000_000]


async def num_received(call: Caller, signed: str) -> int:
    """Bytes of a body until the connection ends."""
    num_bytes = 0
    try:
        async with call.http.stream("GET", PREFIX + signed) as answer:
            async for piece in answer.aiter_raw():
                num_bytes += len(piece)
    except httpx.RemoteProtocolError:
        return num_bytes
    pytest.fail("the body came to its end")


async def test_a_stall_is_silence_until_it_is_released(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    stall = Stall(after_bytes=10)
    server.faults.next(stall)
    task = asyncio.create_task(call("GET", signed))
    assert await asyncio.to_thread(stall.started.wait, 30)
    assert not task.done()
    stall.release()
    with pytest.raises(httpx.RemoteProtocolError):
        await task


async def test_a_body_may_be_shorter_than_the_row_says(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    etag = (await call("GET", signed)).headers["etag"]
    server.faults.next(Truncated(to_bytes=10), LyingLength(5), LyingRange("bytes 0-9/10"), RangeIgnored())
    short = await call("GET", signed)
    assert (short.status_code, short.content, short.headers["etag"] == etag) == (200, CONTENT[:10], False)
    assert (await call("GET", signed)).content == CONTENT[:5]
    rest = {"Range": "bytes=6-"}
    lying = await call("GET", signed, headers=rest)
    assert (lying.headers["content-range"], lying.content) == ("bytes 0-9/10", CONTENT[6:])
    whole = await call("GET", signed, headers=rest)
    assert (whole.status_code, whole.content) == (200, CONTENT)


async def test_an_object_is_replaced_before_the_second_request(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    server.faults.next(Served(), Before(lambda: server.put_object(NAME, b"another")))
    assert [(await call("GET", signed)).content for _ in range(3)] == [CONTENT, b"another", b"another"]


async def test_faults_meet_the_requests_of_their_operation_in_order(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    server.faults.next(html_502(), in_400_timeout())
    server.faults.always(gateway_404(), on="info")
    assert [(await call("GET", signed)).status_code for _ in range(3)] == [502, 400, 200]
    for _ in range(3):
        assert (await call("GET", f"/object/info/{BUCKET}/{NAME}", token("service_role"))).status_code == 404
    server.faults.clear()
    assert (await call("GET", f"/object/info/{BUCKET}/{NAME}", token("service_role"))).status_code == 200
