"""What can happen to a request on its way through FaultProxy, and to its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol


class Spoiled(Protocol):
    """The connection on which the request came."""

    @property
    def halves(self) -> tuple[bytes, bytes]: ...

    async def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def reset(self) -> None: ...

    def silence(self) -> None: ...

    def resume(self) -> None: ...

    async def cut(self) -> None: ...


class Fault(Protocol):
    @property
    def is_executed(self) -> bool:
        """Whether the server gets the request. If so, `act` is called when its whole answer is here."""
        ...

    async def act(self, link: Spoiled) -> None: ...


@dataclass(frozen=True)
class LostAnswer:
    """The server has done what it was asked for, and the connection ends without an answer."""

    is_executed: bool = True

    async def act(self, link: Spoiled) -> None:
        link.close()


@dataclass(frozen=True)
class Reset:
    """RST: before the server has heard of the request, or (`is_executed`) in place of its answer."""

    is_executed: bool = False

    async def act(self, link: Spoiled) -> None:
        link.reset()


@dataclass(frozen=True)
class Silence:
    """
    A black hole: the connection stays open, and nothing passes any more in either direction. With `is_executed` the
    server has still heard the request.
    """

    is_executed: bool = False

    async def act(self, link: Spoiled) -> None:
        link.silence()


@dataclass(frozen=True)
class Truncated:
    """Half of what the server says, then the end of the connection."""

    is_executed: bool = True

    async def act(self, link: Spoiled) -> None:
        await link.send(link.halves[0])
        link.close()


@dataclass(frozen=True)
class Stalled:
    """Half of what the server says; the rest so much later."""

    seconds: float
    is_executed: bool = True

    async def act(self, link: Spoiled) -> None:
        first, rest = link.halves
        await link.send(first)
        await asyncio.sleep(self.seconds)
        await link.send(rest)
        link.resume()


@dataclass(frozen=True)
class Cut:
    """With this request, and before it, the network is cut as by `FaultProxy.cut`; `mend` lets it pass."""

    is_executed: bool = False

    async def act(self, link: Spoiled) -> None:
        await link.cut()


@dataclass(frozen=True)
class Answered:
    """Over HTTP: a gateway answers in the server's place."""

    status: int
    body: str = ""
    content_type: str = "text/html"
    headers: dict[str, str] = field(default_factory=dict, hash=False)
    is_executed: bool = False

    async def act(self, link: Spoiled) -> None:
        body = (self.body or f"<html><body><h1>{self.status}</h1></body></html>").encode()
        lines = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **self.headers,
        }
        words = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Error"
        head = f"HTTP/1.1 {self.status} {words}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        await link.send(head.encode() + b"\r\n" + body)
        link.close()
