"""Downloads from Supabase Storage under every fault that was seen on the real one, by name."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.support.fake_storage_access import BUCKET
from tests.support.fake_storage_faults import (
    Answer,
    Cut,
    ExpiredToken,
    Fault,
    LyingLength,
    LyingRange,
    RangeIgnored,
    Reply,
    Stall,
    Truncated,
    access_denied,
    database_timeout,
    expired_signature,
    gateway_404,
    html_200,
    html_502,
    in_400_timeout,
    in_400_unavailable,
    internal_error,
    not_found,
    too_many_connections,
)
from tests.support.storage_downloads import NAME, OTHER, RECORDING, Downloads
from worker.exceptions import (
    AudioChecksumError,
    AudioDownloadError,
    AudioMissingError,
    AudioTooBigError,
    DiskFailedError,
    DiskFullError,
    PCWorkerException,
    SupabaseAccessError,
    SupabaseStorageError,
)

HALF = len(RECORDING) // 2


class WrongBytes(Fault):
    """Bytes from elsewhere, under the right headers: nothing but the checksum can tell."""

    def alter(self, reply: Reply) -> None:
        reply.start = 0


class FirstBytes(Fault):
    """As many bytes as were asked for, but from the first one on; the range says so."""

    def alter(self, reply: Reply) -> None:
        reply.start = 0
        reply.headers["content-range"] = f"bytes 0-{reply.num_bytes - 1}/{len(RECORDING)}"


class Unnamed(Fault):
    """Bytes without an ETag, which Storage never leaves out."""

    def alter(self, reply: Reply) -> None:
        del reply.headers["etag"]


@dataclass
class Redirect(Fault):
    location: str

    def alter(self, reply: Reply) -> None:
        reply.status, reply.num_bytes = 302, 0
        reply.headers |= {"location": self.location, "content-length": "0"}


PASSING: dict[str, list[Fault]] = {
    "cut before the first byte": [Cut(0)],
    "cut mid-body": [Cut(HALF)],
    "several cuts": [Cut(1_500_000), Cut(700_000), Cut(1), Cut(300_000)],
    "stall before the first byte": [Stall(0)],
    "stall mid-body": [Stall(HALF)],
    "truncation": [Truncated(HALF)],
    "truncation after a cut": [Cut(HALF), Truncated(HALF + 1000)],
    "length too small": [LyingLength(1000)],
    "length too large": [LyingLength(len(RECORDING) + 1000)],
    "length too large after a cut": [Cut(HALF), LyingLength(len(RECORDING))],
    "another range than asked for": [Cut(HALF), LyingRange("bytes 0-9/10")],
    "a range beyond the end": [Cut(HALF), LyingRange(f"bytes {HALF}-{len(RECORDING)}/{len(RECORDING)}")],
    "no word about the range": [Cut(HALF), LyingRange(None)],
    "range ignored": [Cut(HALF), RangeIgnored()],
    "no name for the bytes": [Unnamed()],
    "544 in a 400": [in_400_timeout()],
    "503 in a 400": [in_400_unavailable()],
    "HTML 502": [html_502()],
    "HTML 200": [html_200()],
    "HTML 200 after a cut": [Cut(HALF), html_200()],
    "404 of a gateway": [gateway_404()],
    "429": [too_many_connections()],
    "500": [internal_error()],
    "544": [database_timeout()],
    "expired signature": [expired_signature()],
    "expired signature after a cut": [Cut(HALF), expired_signature()],
    "wrong bytes after a cut": [Cut(HALF), WrongBytes()],
}


@pytest.mark.proves("Storage 5xx, 429, or 400 with 544/503 in the body")
@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
async def test_what_passes_costs_nothing_but_time(downloads: Downloads, faults: list[Fault]) -> None:
    """The recording arrives whole, and progress never goes back."""
    downloads.put()
    downloads.fake.faults.next(*faults)
    await downloads.fetch()
    assert downloads.fake.faults.waiting() == 0
    assert downloads.target.read_bytes() == RECORDING
    assert downloads.left == ["source"]
    assert downloads.shares == sorted(downloads.shares)
    assert downloads.shares[-1] == 1.0


ON_CALLS: dict[str, Callable[[], Fault]] = {
    "544": database_timeout,
    "544 in a 400": in_400_timeout,
    "503 in a 400": in_400_unavailable,
    "500": internal_error,
    "429": too_many_connections,
    "HTML 502": html_502,
    "HTML 200": html_200,
    "another JSON": lambda: Answer(200, '{"hello": "world"}'),
    "no object of JSON": lambda: Answer(200, "[]"),
    "404 of a gateway": gateway_404,
}


@pytest.mark.parametrize("operation", ["sign", "info"])
@pytest.mark.parametrize("fault", ON_CALLS.values(), ids=ON_CALLS)
async def test_what_passes_when_it_is_signed_or_measured(
    downloads: Downloads, fault: Callable[[], Fault], operation: str
) -> None:
    """Also in the middle: each resume signs and measures again."""
    downloads.put()
    downloads.fake.faults.next(fault(), Fault(), fault(), on=operation)
    downloads.fake.faults.next(Cut(HALF))
    await downloads.fetch()
    assert downloads.fake.faults.waiting(operation) == 0
    assert downloads.target.read_bytes() == RECORDING


async def test_a_signature_that_is_born_expired(downloads: Downloads) -> None:
    downloads.put()
    downloads.fake.faults.next(ExpiredToken(), on="sign")
    await downloads.fetch()
    assert downloads.target.read_bytes() == RECORDING


LASTING: dict[str, tuple[Fault, type[PCWorkerException]]] = {
    "HTML 502": (html_502(), SupabaseStorageError),
    "HTML 200": (html_200(), SupabaseStorageError),
    "429": (too_many_connections(), SupabaseStorageError),
    "500, as for a row without its file": (internal_error(), SupabaseStorageError),
    "544 in a 400": (in_400_timeout(), SupabaseStorageError),
    "expired signature": (expired_signature(), SupabaseStorageError),
    "redirect": (Redirect("https://127.0.0.1:1/elsewhere"), SupabaseStorageError),
    "cut": (Cut(0), AudioDownloadError),
    "stall": (Stall(0), AudioDownloadError),
    "truncation": (Truncated(HALF), AudioDownloadError),
    "length too large": (LyingLength(len(RECORDING) + 1), AudioDownloadError),
    "403 in a 400": (access_denied(), SupabaseAccessError),
    "404 in a 400": (not_found(), AudioMissingError),
}


@pytest.mark.proves("Storage 5xx, 429, or 400 with 544/503 in the body")
@pytest.mark.parametrize(("fault", "expected"), LASTING.values(), ids=LASTING)
async def test_what_does_not_pass_ends_the_attempt(
    downloads: Downloads, fault: Fault, expected: type[PCWorkerException]
) -> None:
    """In our own terms, without a word of the signed address, and without half a recording."""
    downloads.put()
    downloads.fake.faults.always(fault)
    assert type(await downloads.failure(no_progress_s=0.2)) is expected
    assert downloads.left == []


async def test_a_row_without_its_file(downloads: Downloads) -> None:
    """Storage says 500, as if it would pass; it is asked for a while, and the meeting tried again later."""
    downloads.put()
    downloads.fake.lose_file(NAME)
    assert type(await downloads.failure(no_progress_s=0.1)) is SupabaseStorageError


async def test_nobody_there(downloads: Downloads) -> None:
    """The project is out of reach: the connection is refused at once."""
    downloads.put()
    downloads.fake.url = "http://127.0.0.1:1"
    assert type(await downloads.failure(no_progress_s=0.1)) is SupabaseStorageError


async def test_a_long_wait_for_the_first_byte_is_no_stall(downloads: Downloads) -> None:
    """Storage reads the whole file for its MD5 before it sends any of it."""
    downloads.put()
    downloads.fake.first_byte_delay_s = 0.5
    await downloads.fetch(stall_s=0.1)
    assert downloads.ranges == [None]


async def test_the_wait_for_the_first_byte_grows_with_the_size(downloads: Downloads) -> None:
    downloads.put()
    downloads.fake.first_byte_delay_s = 0.5
    await downloads.fetch(first_byte_s=0.01, hashing_bytes_s=len(RECORDING) / 5)
    assert downloads.ranges == [None]


async def test_a_server_that_sends_a_byte_now_and_then(downloads: Downloads) -> None:
    """Each piece makes progress, so only the limit of the whole ends it; what has come stays for the next attempt."""
    downloads.put(RECORDING * 20)
    downloads.fake.faults.always(Cut(1_100_000))
    error = await downloads.failure(deadline_s=0.2, slowest_bytes_s=1e9)
    assert type(error) is AudioDownloadError
    assert "too slow" in str(error)
    assert downloads.left == [".source.part", ".source.part.json"]


@pytest.mark.proves("audio missing, empty, truncated, wrong checksum, not audio, too long or too big")
async def test_the_wrong_bytes_are_downloaded_a_second_time(downloads: Downloads) -> None:
    """Once in full, without the part that was wrong; then the recording itself is called damaged."""
    downloads.put(sha256="0" * 64)
    assert type(await downloads.failure()) is AudioChecksumError
    assert downloads.ranges == [None, None]
    assert downloads.left == []


@pytest.mark.parametrize("metadata", [None, {}, {"sha256": 7}, {"sha256": "not one"}])
async def test_without_a_checksum_the_size_decides(downloads: Downloads, metadata: dict[str, object] | None) -> None:
    """Uploads of other programs carry none, or something of that name."""
    downloads.fake.put_object(NAME, RECORDING, metadata=metadata)
    await downloads.fetch()
    assert downloads.target.read_bytes() == RECORDING


WRONG_RANGES: dict[str, Fault] = {
    "from the start": FirstBytes(),
    "another first byte": LyingRange(f"bytes 0-{len(RECORDING) - 1}/{len(RECORDING)}"),
    "another last byte": LyingRange(f"bytes {HALF}-{len(RECORDING)}/{len(RECORDING)}"),
    "no total": LyingRange(f"bytes {HALF}-{len(RECORDING) - 1}/*"),
}


@pytest.mark.parametrize("fault", WRONG_RANGES.values(), ids=WRONG_RANGES)
async def test_another_range_is_noticed_without_a_checksum(downloads: Downloads, fault: Fault) -> None:
    downloads.fake.put_object(NAME, RECORDING)
    downloads.fake.faults.next(Cut(HALF), fault)
    await downloads.fetch()
    assert downloads.target.read_bytes() == RECORDING


async def test_a_recording_that_is_too_big_is_not_downloaded(downloads: Downloads) -> None:
    downloads.put()
    assert type(await downloads.failure(max_bytes=len(RECORDING) - 1)) is AudioTooBigError
    assert downloads.ranges == []


async def test_a_disk_without_room_is_noticed_before_the_download(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads.put()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free=len(RECORDING) - 1))
    assert type(await downloads.failure()) is DiskFullError
    assert downloads.left == []


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, DiskFullError), (errno.EIO, DiskFailedError)])
async def test_a_disk_that_fails(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[PCWorkerException]
) -> None:
    """A full disk gets its room back."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number), str(downloads.job))

    downloads.put()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert type(await downloads.failure()) is expected
    assert (downloads.left == []) is (expected is DiskFullError)
    await downloads.fetch()
    assert downloads.target.read_bytes() == RECORDING


async def test_the_same_version_has_the_same_time(downloads: Downloads) -> None:
    """By which the next attempt knows that what it kept was made from this recording."""
    downloads.put()
    await downloads.fetch()
    first_ns = downloads.target.stat().st_mtime_ns
    downloads.target.unlink()
    await downloads.fetch()
    assert downloads.target.stat().st_mtime_ns == first_ns
    downloads.put(OTHER)
    await downloads.fetch()
    assert downloads.target.read_bytes() == OTHER
    assert downloads.target.stat().st_mtime_ns != first_ns


async def test_what_is_here_is_not_downloaded_again(downloads: Downloads) -> None:
    """The second attempt at a meeting fetches first of all, like the first one."""
    downloads.put()
    await downloads.fetch()
    await downloads.fetch()
    assert downloads.ranges == [None]
    assert downloads.shares[-1] == 1.0


async def test_two_versions_of_one_millisecond_are_told_apart(downloads: Downloads) -> None:
    """Storage's times are no finer than that, and what is here must not be taken for what is there."""
    downloads.put()
    await downloads.fetch()
    before = downloads.fake.objects[NAME]
    downloads.put(OTHER)
    of_same_time = replace(downloads.fake.objects[NAME], updated_at=before.updated_at)
    downloads.fake.shelf.objects[BUCKET][NAME] = of_same_time
    await downloads.fetch()
    assert downloads.target.read_bytes() == OTHER
