"""Recordings at any https address: what is fetched, how it survives its connection, and what is refused."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.storage_downloads import HURRIED
from tests.support.web_server import WebServer, answering, trusting
from worker.adapters.fetch_url import MAX_REDIRECTS, UrlFetcher
from worker.exceptions import (
    AudioDownloadError,
    AudioMissingError,
    AudioTooBigError,
    AudioUrlRefusedError,
    PCWorkerException,
)

RECORDING = bytes(range(251)) * 16_000
OTHER = bytes(reversed(RECORDING))
HALF = len(RECORDING) // 2
TOKEN = "a-secret-of-the-link"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WebServer]:
    async with WebServer(tmp_path, RECORDING) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job" / "source"


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


async def fetch(server: WebServer, target: Path, *, max_bytes: int = 10**9, no_progress_s: float = 1.0) -> list[float]:
    fetcher = UrlFetcher(allow_private=True, ssl_context=trusting(), pace=replace(HURRIED, no_progress_s=no_progress_s))
    shares: list[float] = []
    await fetcher.fetch(f"{server.url}?key={TOKEN}", target, max_bytes=max_bytes, report=shares.append)
    return shares


async def failure(server: WebServer, target: Path, *, max_bytes: int = 10**9) -> PCWorkerException:
    """The error, which must not tell the address nor the secrets in it."""
    with pytest.raises(PCWorkerException) as caught:
        await fetch(server, target, max_bytes=max_bytes, no_progress_s=0.1)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value.details)
    assert TOKEN not in text
    assert "127.0.0.1" not in text
    return caught.value


async def test_a_recording_is_fetched(server: WebServer, target: Path) -> None:
    shares = await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert left(target) == ["source"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


async def test_nothing_is_told_about_us(server: WebServer, target: Path) -> None:
    server.answers = [answering(302, Location="/there", Set_Cookie="a=b")]
    await fetch(server, target)
    for request in server.requests:
        assert not {"Cookie", "Referer", "Authorization"} & set(request.headers)
        assert request.headers["User-Agent"].startswith("pc-worker/")


async def test_a_cut_download_goes_on_where_it_was_cut(server: WebServer, target: Path) -> None:
    server.answers = [server.cut(HALF), server.cut(1000), answering(503)]
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert server.seen[0] is None
    assert all(server.seen[1:])


@pytest.mark.parametrize("etag", ["", 'W/"{}"'], ids=["no name", "a weak name"])
async def test_a_server_that_does_not_name_its_bytes_begins_anew(server: WebServer, target: Path, etag: str) -> None:
    """Nobody knows whether the rest is of the same recording."""
    server.etag = etag
    server.answers = [server.cut(HALF)]
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert server.seen == [None, None]


async def test_a_server_that_serves_no_parts_begins_anew(server: WebServer, target: Path) -> None:
    server.ranges = False
    server.answers = [server.cut(HALF)]
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert len(server.requests) == 2


async def test_a_recording_that_is_replaced_between_two_pieces(server: WebServer, target: Path) -> None:
    async def replaced(request: web.Request) -> web.StreamResponse:
        server.content = OTHER
        return await server.whole(request)

    server.answers = [server.cut(HALF), replaced]
    await fetch(server, target)
    assert target.read_bytes() == OTHER


async def test_the_next_attempt_goes_on_where_the_last_one_ended(server: WebServer, target: Path) -> None:
    """The note beside the part does not hold the address, which may be a secret."""
    server.answers = [server.cut(HALF), *[answering(503)] * 1000]
    assert type(await failure(server, target)) is AudioDownloadError
    assert left(target) == [".source.part", ".source.part.json"]
    assert TOKEN not in (target.parent / ".source.part.json").read_text()
    server.answers.clear()
    server.requests.clear()
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert server.seen != [None]


async def test_a_length_that_nobody_knows(server: WebServer, target: Path) -> None:
    """Chunks with an end: complete when the end has come."""

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(RECORDING), 100_000):
            await response.write(RECORDING[start : start + 100_000])
        return response

    server.answers = [chunked, chunked]
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    target.unlink()
    assert type(await failure(server, target, max_bytes=HALF)) is AudioTooBigError
    assert left(target) == []


async def test_too_big_by_its_length(server: WebServer, target: Path) -> None:
    assert type(await failure(server, target, max_bytes=len(RECORDING) - 1)) is AudioTooBigError
    assert left(target) == []


STATUSES = {
    404: AudioMissingError,
    410: AudioMissingError,
    401: AudioUrlRefusedError,
    403: AudioUrlRefusedError,
    400: AudioUrlRefusedError,
    418: AudioUrlRefusedError,
    204: AudioUrlRefusedError,
    304: AudioUrlRefusedError,
    408: AudioDownloadError,
    429: AudioDownloadError,
    500: AudioDownloadError,
    503: AudioDownloadError,
}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
async def test_what_a_status_means(
    server: WebServer, target: Path, status: int, expected: type[PCWorkerException]
) -> None:
    server.answers = [answering(status)] * 1000
    assert type(await failure(server, target)) is expected
    assert left(target) == []


async def test_redirects_are_followed_a_few_times(server: WebServer, target: Path) -> None:
    """Also with other methods to say so, and a relative address."""
    server.answers = [answering(status, Location="/b?c=d") for status in (301, 302, 303, 307, 308)]
    assert len(server.answers) == MAX_REDIRECTS
    await fetch(server, target)
    assert target.read_bytes() == RECORDING
    assert server.requests[-1].path_qs == "/b?c=d"
    server.answers = [answering(302, Location="/b")] * (MAX_REDIRECTS + 1)
    error = await failure(server, target)
    assert type(error) is AudioUrlRefusedError
    assert "redirected" in str(error)


@pytest.mark.parametrize(
    "location",
    ["", "http://127.0.0.1/audio.wav", "file:///etc/passwd", "https://a:b@127.0.0.1/", "https://["],
)
async def test_each_hop_is_checked(server: WebServer, target: Path, location: str) -> None:
    server.answers = [answering(302, Location=location)]
    assert type(await failure(server, target)) is AudioUrlRefusedError
    assert len(server.requests) == 1


async def test_a_certificate_of_nobody_is_not_accepted(server: WebServer, target: Path) -> None:
    """Nor does anybody wait for it to become valid."""
    fetcher = UrlFetcher(allow_private=True, pace=HURRIED)
    with pytest.raises(AudioDownloadError, match="certificate"):
        await fetcher.fetch(server.url, target, max_bytes=10**9, report=lambda _: None)
    assert server.requests == []


async def test_the_same_bytes_have_the_same_time(server: WebServer, target: Path) -> None:
    """By which the next attempt knows them; a server's own times may change with each answer, or be missing."""
    times = []
    for content in (RECORDING, RECORDING, OTHER):
        server.content = content
        await fetch(server, target)
        assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(content).digest()
        times.append(target.stat().st_mtime_ns)
    assert times[0] == times[1] != times[2]
