"""
A proxy that spoils chosen requests: between a client and PostgREST or Storage (HTTP), or Postgres (its own protocol).

Looked for and not found: Toxiproxy is a Go binary, PyPI's `faulty` (0.2) shakes whole connections, mitmproxy knows no
Postgres; none can lose the answer to a request of which it is sure that the server has worked on it.

    with FaultProxy(gateway.url) as proxy:                            # or FaultProxy("/run/.../.s.PGSQL.5432")
        armed = proxy.arm(LostAnswer(), r"rpc/worker_claim_v1")       # the next such request
        ...
        assert armed.num_met == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.fault_proxy_faults import Fault
from tests.support.fault_proxy_wires import HttpWire, PostgresWire, Wire

T = TypeVar("T")

CHUNK_BYTES = 1 << 16


class Armed:
    """A fault that waits for its requests, and what it has met."""

    def __init__(self, fault: Fault, pattern: str, *, after: int, times: int | None) -> None:
        self.fault = fault
        self._lock = threading.Lock()
        self._pattern = re.compile(pattern.encode())
        self._num_passed, self._num_left = after, times
        self._met = threading.Semaphore(0)
        self.num_met = 0

    def takes(self, chunk: bytes) -> bool:
        """Whether this is the beginning of a request that it waits for. Counts."""
        with self._lock:
            if self._num_left == 0 or not self._pattern.search(chunk):
                return False
            if self._num_passed:
                self._num_passed -= 1
                return False
            if self._num_left is not None:
                self._num_left -= 1
            self.num_met += 1
        self._met.release()
        return True

    def wait_until_met(self, patience_s: float = 60.0) -> None:
        """Each call waits for one more."""
        assert self._met.acquire(timeout=patience_s), f"no request met {self.fault}"

    def disarm(self) -> None:
        with self._lock:
            self._num_left = 0


class FaultProxy:
    """Runs in a thread of its own between `with`. Every method may be called from any other thread."""

    def __init__(self, upstream: str) -> None:
        """`upstream`: http://host:port, or the path of a Postgres server's socket."""
        self._upstream = upstream
        self._is_http = upstream.startswith("http:")
        self._armed: list[Armed] = []
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what tests ask for

    def arm(self, fault: Fault, pattern: str = "", *, after: int = 0, times: int | None = 1) -> Armed:
        """
        The next requests in whose first bytes `pattern` is found meet the fault: `times` of them (None: all, until
        `disarm`), after so many have passed. Over HTTP the bytes begin with "POST /rest/v1/rpc/..."; to Postgres they
        hold the statement.
        """
        armed = Armed(fault, pattern, after=after, times=times)
        self._do(lambda: self._armed.append(armed))
        return armed

    def cut(self) -> None:
        """From now on nothing passes, and nobody is told; `mend` lets all that was held up arrive."""
        self._do(self._is_whole.clear)

    def mend(self) -> None:
        self._do(self._is_whole.set)

    def half_open(self) -> int:
        """Every connection there is dies without a word; new ones are fine. How many there were."""
        return self._do(self._silence_all)

    def _silence_all(self) -> int:
        for link in self._links:
            link.is_silent = True
        return len(self._links)

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    # --- in its own thread

    async def _start(self) -> None:
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await self._is_whole.wait()
                await self._link(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy ends; a cancelled task would be logged by asyncio.streams
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_http:
            at = urlsplit(self._upstream)
            server_reader, server_writer = await asyncio.open_connection(at.hostname, at.port)
        else:
            server_reader, server_writer = await asyncio.open_unix_connection(self._upstream)
        link = Link(self._take, self._is_whole, HttpWire() if self._is_http else PostgresWire())
        link.client, link.server = (reader, writer), (server_reader, server_writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            server_writer.transport.abort()

    def _take(self, chunk: bytes) -> Fault | None:
        return next((armed.fault for armed in self._armed if armed.takes(chunk)), None)


class Link:
    """One client's connection and the one behind it. Implements what faults act on."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    def __init__(self, take: Callable[[bytes], Fault | None], is_whole: asyncio.Event, wire: Wire) -> None:
        self._take, self._is_whole, self._wire = take, is_whole, wire
        self._fault: Fault | None = None
        self._request, self._answer = bytearray(), bytearray()
        self.is_silent = False

    async def run(self) -> None:
        """Until either side has ended; a silent link until the client has."""
        async with asyncio.TaskGroup() as pumps:
            down = pumps.create_task(self._down())
            await self._up()
            down.cancel()

    async def _up(self) -> None:
        reader, _ = self.client
        while chunk := await self._read(reader):
            if self.is_silent:
                continue
            if self._fault is None and (fault := self._take(chunk)) is not None:
                self._fault = fault
                self._request.clear()
                self._answer.clear()
            self._request += chunk
            if self._fault is None or self._fault.is_executed:
                await self._write(self.server[1], chunk)
            elif self._wire.is_request_complete(bytes(self._request)):
                await self._fault.act(self)

    async def _down(self) -> None:
        reader, _ = self.server
        while chunk := await self._read(reader):
            if self._fault is None and not self.is_silent:
                self._request.clear()
                await self._write(self.client[1], chunk)
                continue
            self._answer += chunk
            is_whole = self._wire.is_answer_complete(bytes(self._request), bytes(self._answer))
            if self._fault is not None and not self.is_silent and is_whole:
                await self._fault.act(self)
        if not self.is_silent:
            self.client[1].close()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            chunk = await reader.read(CHUNK_BYTES)
        except ConnectionError:
            return b""
        await self._is_whole.wait()
        return chunk

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()

    # --- for faults

    @property
    def halves(self) -> tuple[bytes, bytes]:
        """The answer, cut in the middle of what it says."""
        at = self._wire.middle(bytes(self._answer))
        return bytes(self._answer[:at]), bytes(self._answer[at:])

    async def send(self, data: bytes) -> None:
        await self._write(self.client[1], data)

    def close(self) -> None:
        self.client[1].close()

    def reset(self) -> None:
        """RST instead of FIN: what was sent before may be lost too."""
        never_linger = struct.pack("ii", 1, 0)
        self.client[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, never_linger)
        self.client[1].transport.abort()

    def silence(self) -> None:
        self.is_silent = True

    async def cut(self) -> None:
        self._is_whole.clear()
        await self._is_whole.wait()
        held = bytes(self._request)
        self.resume()
        await self._write(self.server[1], held)

    def resume(self) -> None:
        """As if nothing had been."""
        self._fault = None
        self._request.clear()


def socket_of(dsn: str) -> str:
    """Where the server of a conninfo over a Unix socket listens."""
    parts = conninfo_to_dict(dsn)
    return f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"


def through(proxy: FaultProxy, dsn: str) -> str:
    """The same database, over TCP."""
    return make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
