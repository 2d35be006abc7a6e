"""
What can go wrong between a client and Supabase Storage, for FakeStorage to act out.

A fault is for one request of an operation: "sign", "download" (GET and HEAD of bytes), "info", "bucket", "list",
"upload" (plain), "create", "offset", "patch" (resumable: POST, HEAD, PATCH) or "delete". Where no body of an object is
in play, a Cut or a Stall happens at once.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiohttp import web


@dataclass
class Reply:
    """The bytes that a download is about to send: `num_bytes` of the object, from `start`."""

    status: int
    headers: dict[str, str]
    start: int
    num_bytes: int
    breaks_after: int | None = None  # bytes; then the fault's `broken` is awaited and the connection is cut


class Fault:
    """Serves the request as usual; as such it is the gap between two faults."""

    reads_on: ClassVar[bool] = False

    def begin(self) -> None:
        """Called when the request has arrived, before anything is looked up."""

    def answer(self) -> Answer | None:
        """What to answer instead of the truth."""
        return None

    def alter(self, reply: Reply) -> None:
        """Change what a download sends."""

    def received_limit(self) -> int | None:
        """After how many bytes of its body an upload breaks."""
        return None

    async def broken(self) -> None:
        """Awaited where the body breaks, before the connection is cut."""


Served = Fault

FAULT: web.RequestKey[Fault] = web.RequestKey("fault", Fault)
SEEN: web.RequestKey[Any] = web.RequestKey("seen", object)
"""What a request carries: its fault, and how it is logged. aiohttp warns of plain text as keys."""


@dataclass
class Cut(Fault):
    """The TCP connection ends after that many bytes of the body, sent or received."""

    after_bytes: int = 0

    def alter(self, reply: Reply) -> None:
        if self.after_bytes < reply.num_bytes:
            reply.breaks_after = self.after_bytes

    def received_limit(self) -> int | None:
        return self.after_bytes


@dataclass
class Stall(Cut):
    """
    Silence after that many bytes of the body, until `release()` (then the connection ends) or the client leaves.

    What an upload sends beyond is read and dropped; `started` is set when nothing more comes.
    """

    reads_on: ClassVar[bool] = True
    started: threading.Event = field(default_factory=threading.Event)
    _released: Future[None] = field(default_factory=Future)

    async def broken(self) -> None:
        import asyncio

        self.started.set()
        await asyncio.shield(asyncio.wrap_future(self._released))

    def release(self) -> None:
        if not self._released.done():
            self._released.set_result(None)


@dataclass
class Truncated(Fault):
    """The file on the server's disk is shorter than its row says: shorter length, other ETag; `info` knows nothing."""

    to_bytes: int

    def alter(self, reply: Reply) -> None:
        reply.num_bytes = max(0, min(reply.num_bytes, self.to_bytes - reply.start))
        reply.headers["content-length"] = str(reply.num_bytes)
        reply.headers["etag"] = f'"{"0" * 31}{self.to_bytes % 10}"'
        if "content-range" in reply.headers:
            end = reply.start + reply.num_bytes - 1
            reply.headers["content-range"] = f"bytes {reply.start}-{end}/{self.to_bytes}"


@dataclass
class LyingLength(Fault):
    """Content-Length says `length_bytes`; if it promises too much, the connection ends after the true bytes."""

    length_bytes: int

    def alter(self, reply: Reply) -> None:
        reply.headers["content-length"] = str(self.length_bytes)
        if self.length_bytes > reply.num_bytes:
            reply.breaks_after = reply.num_bytes
        reply.num_bytes = min(reply.num_bytes, self.length_bytes)


@dataclass
class LyingRange(Fault):
    """Content-Range says something else than what is sent, such as `bytes 0-9/10`; None leaves it out."""

    content_range: str | None

    def alter(self, reply: Reply) -> None:
        reply.headers.pop("content-range", None)
        if self.content_range is not None:
            reply.headers["content-range"] = self.content_range


class RangeIgnored(Fault):
    """200 and the whole object, whatever was asked for."""

    def alter(self, reply: Reply) -> None:
        total = int(reply.headers.pop("content-range", f"/{reply.num_bytes}").rsplit("/", 1)[1])
        reply.status, reply.start, reply.num_bytes = 200, 0, total
        reply.headers["content-length"] = str(total)


@dataclass
class Answer(Fault):
    """Any other answer, as a gateway in front of Storage or Storage itself would give it."""

    status: int
    body: str = ""
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> Answer | None:
        return self


def in_400(
    status_code: str, error: str = "Error", message: str = "something went wrong", code: str = "Error"
) -> Answer:
    """HTTP 400 whose body carries the truth."""
    return Answer(400, json.dumps({"statusCode": status_code, "error": error, "message": message, "code": code}))


def not_found() -> Answer:
    return in_400("404", "not_found", "Object not found", "NoSuchKey")


def access_denied() -> Answer:
    return in_400("403", "Unauthorized", "signature verification failed", "AccessDenied")


def in_400_timeout() -> Answer:
    return in_400("544", "DatabaseTimeout", "The connection to the database timed out", "DatabaseTimeout")


def in_400_unavailable() -> Answer:
    return in_400("503", "DatabaseReadOnly", "The database is read only", "DatabaseReadOnly")


def expired_signature() -> Answer:
    return in_400("400", "InvalidJWT", '"exp" claim timestamp check failed', "InvalidJWT")


def real(status: int, error: str, message: str) -> Answer:
    """An error that Storage sends under its own HTTP status."""
    return Answer(status, json.dumps({"statusCode": str(status), "error": error, "message": message, "code": error}))


def too_many_connections() -> Answer:
    return real(429, "too_many_connections", "Too many connections issued to the database")


def internal_error() -> Answer:
    """Also what a row without its file looks like."""
    return real(500, "Internal", "Internal Server Error")


def database_timeout() -> Answer:
    return real(544, "DatabaseTimeout", "The connection to the database timed out")


def html_502() -> Answer:
    return Answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")


def html_200() -> Answer:
    """A login page of a hotel, say."""
    return Answer(200, "<html><body>Welcome to our network!</body></html>", "text/html")


def gateway_404() -> Answer:
    return Answer(404, json.dumps({"message": "no Route matched with those values"}))


@dataclass
class Before(Fault):
    """Something happens on the server when the request arrives: the object is replaced, say. Then it is served."""

    action: Callable[[], object]

    def begin(self) -> None:
        self.action()


class ExpiredToken(Fault):
    """Of a sign request: the token that it returns has expired already."""


class LostAnswer(Fault):
    """The request is worked on to its end; then the connection ends without an answer."""


class FailedFinish(Fault):
    """Of the last piece of a resumable upload: its bytes are kept, and the database fails to make an object of them."""


class Faults:
    """
    Which request meets which fault. Thread-safe.

        storage.faults.next(Cut(after_bytes=1000), html_502())   # the next two downloads, then all is well
        storage.faults.next(Served(), expired_signature())       # the second one from now
        storage.faults.always(database_timeout(), on="sign")     # until `clear()`
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._stalls: list[Stall] = []

    def next(self, *faults: Fault, on: str = "download") -> None:
        with self._lock:
            self._next.setdefault(on, deque()).extend(faults)

    def always(self, fault: Fault, on: str = "download") -> None:
        """When no fault of `next` is left."""
        with self._lock:
            self._always[on] = fault

    def clear(self) -> None:
        with self._lock:
            self._next.clear()
            self._always.clear()

    def waiting(self, on: str = "download") -> int:
        """How many faults of `next` have not been met."""
        with self._lock:
            return len(self._next.get(on, ()))

    def take(self, operation: str) -> Fault:
        """The fault of the request that has just arrived."""
        with self._lock:
            queue = self._next.get(operation)
            fault = queue.popleft() if queue else self._always.get(operation, Served())
            if isinstance(fault, Stall):
                self._stalls.append(fault)
            return fault

    def release_all(self) -> None:
        """End every stall, so that the server can close."""
        with self._lock:
            for stall in self._stalls:
                stall.release()
