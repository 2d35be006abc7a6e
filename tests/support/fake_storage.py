"""
A Supabase Storage for tests: an HTTP server on 127.0.0.1 that answers as supabase/storage v1.70.6 was seen to answer.

Errors come as HTTP 400 with the true status in the body, a denied read looks like a missing object, If-Range is
ignored, signed URLs are bound to one path, and `info` knows only what the database row says. What goes wrong on the way
is for a test to say: see `fake_storage_faults`.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.support import fake_storage_download as downloads
from tests.support import fake_storage_upload as uploads
from tests.support.fake_storage_access import BUCKET, PREFIX, May, default_rules
from tests.support.fake_storage_faults import FAULT, SEEN, Fault, Faults, LostAnswer
from tests.support.fake_storage_objects import Bucket, Refusal, Shelf, StoredObject

VERSION = "v1.70.6"
Handler = Callable[["FakeStorage", web.Request], Awaitable[web.StreamResponse]]

ROUTES: list[tuple[str, str, str, Handler]] = [
    ("GET", "/bucket/{bucket}", "bucket", downloads.get_bucket),
    ("POST", "/object/list/{bucket}", "list", downloads.list_objects),
    ("POST", "/object/sign/{bucket}", "sign", downloads.sign_many),
    ("POST", "/object/sign/{bucket}/{name:.+}", "sign", downloads.sign),
    ("*", "/object/sign/{bucket}/{name:.+}", "download", downloads.download_signed),
    ("GET", "/object/info/{bucket}/{name:.+}", "info", downloads.info),
    ("GET", "/object/authenticated/{bucket}/{name:.+}", "download", downloads.download_authenticated),
    ("DELETE", "/object/{bucket}", "delete", uploads.delete_many),
    ("DELETE", "/object/{bucket}/{name:.+}", "delete", uploads.delete),
    ("POST", "/object/{bucket}/{name:.+}", "upload", uploads.upload),
    ("PUT", "/object/{bucket}/{name:.+}", "upload", uploads.upload),
    ("GET", "/object/{bucket}/{name:.+}", "download", downloads.download_plain),
    ("POST", "/upload/resumable", "create", uploads.create),
    ("HEAD", "/upload/resumable/{upload_id}", "offset", uploads.offset),
    ("PATCH", "/upload/resumable/{upload_id}", "patch", uploads.patch),
]
"""Method, path below PREFIX, operation (by which faults and the log know it), handler."""


@dataclass
class SeenRequest:
    """A request as it arrived. `status` is None until it was answered, and for ever if the connection was cut."""

    operation: str
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    status: int | None = None
    num_sent: int = 0  # bytes of an object
    num_received: int = 0  # bytes of an upload's body that were kept

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class FakeStorage:
    """
    Serves from `with FakeStorage() as storage:` on; `storage.url` is a SUPABASE_URL.

    May be used by several processes. Every attribute may be changed and every method called while it serves.
    """

    buckets: Iterable[Bucket] = field(default_factory=lambda: [Bucket(BUCKET)])
    may: May = default_rules
    with_codes: bool = True  # `code` in error bodies; older servers have none
    past_the_end_status: int = 416  # of a range that starts at the end or later; 500 on other backends
    first_byte_delay_s: float = 0.0  # the real server reads the whole file for its MD5 before it sends any
    requests: list[SeenRequest] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    resumables: dict[str, uploads.Resumable] = field(default_factory=dict)
    own_address: str | None = None  # what it believes to be its origin; of itself it only knows the request's host
    url: str = ""

    def __enter__(self) -> FakeStorage:
        self._folder = tempfile.TemporaryDirectory(prefix="fake-storage-")
        self.shelf = Shelf(Path(self._folder.name), list(self.buckets))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-storage")
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.faults.release_all()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()

    # --- what tests put in and look at

    @property
    def objects(self) -> dict[str, StoredObject]:
        """Those of the bucket meeting-audio, by name."""
        return dict(self.shelf.objects.get(BUCKET, {}))

    def put_object(
        self,
        name: str,
        content: bytes | Path,
        *,
        metadata: dict[str, Any] | None = None,
        content_type: str = "audio/wav",
        bucket: str = BUCKET,
    ) -> StoredObject:
        """Put or replace an object behind everybody's back. A Path is taken as a hard link where that works."""
        path = self.shelf.new_file()
        if isinstance(content, Path):
            path.hardlink_to(content)
        else:
            path.write_bytes(content)
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        found = StoredObject(name, path.stat().st_size, md5, content_type, metadata, path)
        return self.shelf.keep(bucket, found, upsert=True)

    def put_repeated(
        self, name: str, block: bytes, size_bytes: int, *, metadata: dict[str, Any] | None = None
    ) -> StoredObject:
        """A huge object that takes no room: `block` again and again. Give the block an odd length."""
        md5 = hashlib.md5()
        for _ in range(size_bytes // len(block)):
            md5.update(block)
        md5.update(block[: size_bytes % len(block)])
        path = self.shelf.new_file()
        path.touch()
        found = StoredObject(name, size_bytes, md5.hexdigest(), "audio/wav", metadata, path, block)
        return self.shelf.keep(BUCKET, found, upsert=True)

    def lose_file(self, name: str) -> None:
        """The row stays, the bytes go."""
        self.objects[name].path.unlink()

    def remove_object(self, name: str) -> None:
        self.shelf.remove(BUCKET, name)

    def seen(self, operation: str) -> list[SeenRequest]:
        """The requests of one operation, in order."""
        return [request for request in list(self.requests) if request.operation == operation]

    # --- the server

    async def _start(self) -> web.AppRunner:
        app = web.Application(middlewares=[self._unknown_route], client_max_size=1 << 40)
        for method, path, operation, handler in ROUTES:
            app.router.add_route(method, PREFIX + path, self._serving(operation, handler))
        app.router.add_get(PREFIX + "/status", status)
        app.router.add_get(PREFIX + "/version", version)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0, keepalive_timeout=61
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def _serving(self, operation: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            seen = SeenRequest(operation, request.method, request.raw_path, headers)
            self.requests.append(seen)
            request[SEEN], request[FAULT] = seen, self.faults.take(operation)
            assert request.transport is not None
            request.transport.set_write_buffer_limits(0)  # so that `write` returns when all has been sent
            response = await self._answered(request, handler)
            if request.transport is not None and not request.transport.is_closing():
                seen.status = response.status
            return response

        return serve

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault: Fault = request[FAULT]
        await asyncio.to_thread(fault.begin)
        if instead := fault.answer():
            headers = {"content-type": instead.content_type, **instead.headers}
            return web.Response(status=instead.status, body=instead.body.encode(), headers=headers)
        if fault.received_limit() is not None and request[SEEN].operation not in ("download", "upload", "patch"):
            await fault.broken()
            return cut(request)
        try:
            response = await handler(self, request)
            return cut(request) if isinstance(fault, LostAnswer) else response
        except Refusal as refusal:
            if handler in (uploads.create, uploads.offset, uploads.patch) and not is_about_key(refusal):
                return uploads.tus_refusal(refusal)
            body = refusal.body(with_code=self.with_codes)
            return web.Response(status=refusal.status, text=body, content_type="application/json", charset="utf-8")
        except uploads.Broken:
            return cut(request)

    @web.middleware
    async def _unknown_route(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if error.status not in (404, 405):
                raise
            message = f"Route {request.method}:{request.raw_path.removeprefix(PREFIX)} not found"
            answer = downloads.answer({"message": message, "error": "Not Found", "statusCode": 404})
            answer.set_status(404)
            return answer
        return response


def cut(request: web.Request) -> web.Response:
    """The connection ends; what is returned reaches nobody."""
    downloads.abort(request)
    return web.Response()


def is_about_key(refusal: Refusal) -> bool:
    """Tokens are checked before a resumable upload begins, and refused as everywhere."""
    return refusal.error == "Unauthorized" and "policy" not in str(refusal) and "permission" not in str(refusal)


async def status(_request: web.Request) -> web.Response:
    return web.Response()


async def version(_request: web.Request) -> web.Response:
    return web.Response(text=VERSION)
