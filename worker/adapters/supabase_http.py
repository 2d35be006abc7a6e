"""
The HTTP client under supabase-py. Imported with the first call: httpx takes 10 MB.

Not supabase-py's own: that speaks HTTP/2, whose long-lived connections gateways drop, and follows redirects, which
would carry the key to whoever sends one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 75.0
"""Longer than the database allows a `complete` (60 s): this bound is for a project that does not answer at all."""
WRITE_TIMEOUT_S = 60.0
"""For one slice of a request's body."""
KEEPALIVE_S = 45.0
"""Above the heartbeat's 30 s, so that its connection is used again; below the 60 s after which gateways close it."""
MAX_CONNECTIONS = 20
SLICE_BYTES = 256 * 1024


def open_http(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """
    A client whose answers other than success raise httpx.HTTPStatusError, body read. `transport`: in place of httpx's
    own.
    """
    return httpx.AsyncClient(
        http2=False,
        follow_redirects=False,
        transport=transport,
        timeout=httpx.Timeout(
            connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S
        ),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
        event_hooks={"request": [_slice_body], "response": [_raise_for_status]},
    )


class _Slices(httpx.AsyncByteStream):
    """
    A body of 25 MB that is handed over whole is copied into the socket's buffer, and must pass within one write
    timeout; of slices only one is, and each has its own time.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), SLICE_BYTES):
            yield self._body[start : start + SLICE_BYTES]


async def _slice_body(request: httpx.Request) -> None:
    request.stream = _Slices(request.content)


async def _raise_for_status(response: httpx.Response) -> None:
    """Before postgrest looks at it: its APIError does not tell the HTTP status."""
    if not response.is_success:
        await response.aread()
        response.raise_for_status()
