"""What a download needs to know of the place that it comes from, and how patient it is with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from worker.adapters.storage_errors import Passing
from worker.exceptions import AudioDownloadError, PCWorkerException

if TYPE_CHECKING:
    from aiohttp import ClientResponse

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a download is."""

    connect_s: float = 15.0
    stall_s: float = 30.0
    """Silence in the middle of a body. A server whose file has shrunk keeps the connection for a minute."""
    first_byte_s: float = 60.0
    hashing_bytes_s: float = 10e6
    """Storage's file backend reads the whole file before the first byte: the wait grows by size / this."""
    no_progress_s: float = 180.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    deadline_s: float = 900.0
    slowest_bytes_s: float = 100e3
    """The whole may take deadline_s + size / this (900 MB: 2 h 45 min), which ends a server that sends a byte now and
    then. Below 1 Mbit/s a PC is better left to other work; what has arrived is not lost."""
    max_restarts: int = 3

    def first_byte_limit_s(self, size_bytes: int) -> float:
        return self.first_byte_s + size_bytes / self.hashing_bytes_s

    def whole_limit_s(self, size_bytes: int) -> float:
        return self.deadline_s + size_bytes / self.slowest_bytes_s


@dataclass(frozen=True, slots=True)
class Remote:
    """The recording where it lies, as far as this is known before its first byte."""

    address: str
    """May hold a signature: never shown, never kept."""
    version: str
    """The same version has the same bytes; no secret is in it."""
    size_bytes: int | None = None
    sha256: str | None = None
    modified_ns: int | None = None


class Source(Protocol):
    """One recording on one server. Raises Passing for what may pass, errors of our tree for what will not."""

    async def locate(self) -> Remote: ...

    def get(self, remote: Remote, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ClientResponse]: ...

    def validator(self, response: ClientResponse) -> str | None:
        """What the server calls these bytes, if two answers that call them the same surely hold the same."""
        ...

    async def refusal(self, response: ClientResponse) -> PCWorkerException | Passing:
        """What an answer means that is neither 200 nor 206."""
        ...


def total_bytes_of(response: ClientResponse, offset: int) -> int | None:
    """
    How long the whole is, by this answer. Raises Passing if its own lines contradict each other.

    Source: RFC 9110, 14.4 (Content-Range); Storage before v1.58.11 sent ranges beyond the end.
    """
    length = response.content_length
    if response.status == 200:
        return length
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match:
        first, last, total = int(match[1]), int(match[2]), int(match[3])
        if first == offset and last + 1 == total and length in (None, total - offset):
            return total
    raise Passing(AudioDownloadError("The server sent another part of the recording than was asked for."))
