"""How far this PC's clock is from a server's, and whether a server answers at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

_HALF_SECOND = 0.5
"""The header Date is cut off to whole seconds (RFC 9110, section 6.6.1)."""


async def skew_over_http(url: str, *, timeout_s: float, wall_time: Callable[[], float] = time.time) -> float | None:
    """
    Seconds by which the server is ahead of this PC; None when nobody answers or no Date comes with it.

    No key is sent and the certificate is not checked: with a wrong clock it looks as if it were not valid yet, or not
    any more.
    """
    import httpx

    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(verify=False, follow_redirects=False) as http,  # noqa: S501 - see above
        ):
            before = wall_time()
            answer = await http.head(url)
            after = wall_time()
        server = parsedate_to_datetime(answer.headers["Date"]).timestamp() + _HALF_SECOND
    except (httpx.HTTPError, httpx.InvalidURL, OSError, KeyError, TypeError, ValueError):  # OSError holds TimeoutError
        return None
    return server - (before + after) / 2


async def skew_over_postgres(dsn: str, *, timeout_s: float, wall_time: Callable[[], float] = time.time) -> float | None:
    """The same, asked of a Postgres."""
    import psycopg

    try:
        async with asyncio.timeout(timeout_s), await psycopg.AsyncConnection.connect(dsn) as connection:
            before = wall_time()
            cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8")
            row = await cursor.fetchone()
            after = wall_time()
    except (psycopg.Error, OSError):
        return None
    return None if row is None else float(row[0]) - (before + after) / 2


async def answers(url: str, *, timeout_s: float) -> bool:
    """Whether a web server is reached there, over the PC's proxy if it has one, and its certificate holds."""
    import httpx

    try:
        async with asyncio.timeout(timeout_s), httpx.AsyncClient(follow_redirects=False) as http:
            await http.head(url)
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False
    return True
