"""
One address for a test's Supabase project, as its API gateway offers: /rest/v1 is PostgREST, /storage/v1 is Storage.

It checks `apikey` and translates the new API keys, which PostgREST and Storage do not know, into tokens of their role.
Source: Supabase documentation, "Understanding API keys".
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from email.utils import formatdate
from types import TracebackType

import aiohttp
import jwt
from aiohttp import web

from tests.support import project_keys
from tests.support.postgrest import free_port

ROLE_OF_KEY = {project_keys.SECRET_KEY: "service_role", project_keys.PUBLISHABLE_KEY: "anon"}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"}
LARGEST_BODY_BYTES = 1 << 30


class Gateway:
    """Runs in a thread of its own between `with`; `rest_url` and `storage_url` (its origin) may be set at any time."""

    def __init__(self, rest_url: str = "", storage_url: str = "") -> None:
        self.rest_url, self.storage_url = rest_url, storage_url
        self.num_requests = 0
        self.clock_ahead_s = 0.0  # of the header Date in its answers
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway")

    def __enter__(self) -> Gateway:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Nobody is let in, and all connections end; until `mend`."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def mend(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self) -> None:
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
        )
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        app.on_response_prepare.append(self._date)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _date(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(time.time() + self.clock_ahead_s, usegmt=True)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.num_requests += 1
        path = request.raw_path
        is_signed_download = request.method in ("GET", "HEAD") and path.startswith("/storage/v1/object/sign/")
        try:
            headers = dict(request.headers) if is_signed_download else translated(request.headers)
        except PermissionError as refused:
            return web.json_response({"message": str(refused)}, status=401)
        headers = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        if path.startswith("/rest/v1/"):
            return await self._forward(request, self.rest_url + path.removeprefix("/rest/v1"), headers)
        if path.startswith("/storage/v1/"):
            return await self._forward(request, self.storage_url + path, headers)
        return web.json_response({"message": "no Route matched with those values"}, status=404)

    async def _forward(self, request: web.Request, url: str, headers: Mapping[str, str]) -> web.StreamResponse:
        from yarl import URL

        body = request.content if request.body_exists else None
        try:
            async with self._client.request(
                request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await self._hand_back(request, answer)
        except aiohttp.ClientConnectionError:
            return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")

    async def _hand_back(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """A body that breaks off breaks off here too."""
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        if "Content-Length" in answer.headers:
            kept["Content-Length"] = answer.headers["Content-Length"]
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        try:
            async for block in answer.content.iter_any():
                await response.write(block)
            if request.method != "HEAD":
                await response.write_eof()
        except (aiohttp.ClientPayloadError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        return response


def translated(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the bearer that the services understand. Raises PermissionError in the gateway's words."""
    key = headers.get("apikey", "")
    bearer = headers.get("Authorization", "").removeprefix("Bearer ").strip() or key
    if not key:
        raise PermissionError("No API key found in request")
    if key not in ROLE_OF_KEY and not _is_legacy_key(key):
        raise PermissionError("Invalid API key")
    if bearer.startswith("sb_"):
        if bearer != key:
            raise PermissionError("Invalid API key")
        bearer = project_keys.token(ROLE_OF_KEY[key])
    return {**headers, "Authorization": f"Bearer {bearer}"}


def _is_legacy_key(key: str) -> bool:
    try:
        return project_keys.claims_of(key).get("role") in ("anon", "service_role")
    except jwt.PyJWTError:
        return False
