"""A web server on https://127.0.0.1 with a certificate of its own: one recording, and misbehaviour on demand."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@cache
def certificate() -> tuple[bytes, bytes]:
    """A key and a self-signed certificate for localhost, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key_bytes, found.public_bytes(pem)


def trusting() -> ssl.SSLContext:
    """What a client needs in order to accept the server."""
    return ssl.create_default_context(cadata=certificate()[1].decode())


@dataclass
class WebServer:
    """Runs in the test's own event loop, within `async with`. `answers` come first, one for each request."""

    folder: Path
    content: bytes
    etag: str = '"{}"'  # around the MD5 of the content; W/ before it makes it a weak one, empty is none
    ranges: bool = True  # whether it serves a part
    answers: list[Answer] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> WebServer:
        key, chain = (self.folder / "server.key"), (self.folder / "server.pem")
        key.write_bytes(certificate()[0])
        chain.write_bytes(certificate()[1])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}/audio.wav"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        await self._runner.cleanup()

    @property
    def seen(self) -> list[str | None]:
        """The range of each request."""
        return [request.headers.get("Range") for request in self.requests]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await (self.answers.pop(0) if self.answers else self.whole)(request)

    async def whole(self, request: web.Request) -> web.StreamResponse:
        """What an honest server sends."""
        return await self.send(request, len(self.content))

    def cut(self, num_bytes: int) -> Answer:
        """The connection ends after that many bytes of the body."""
        return lambda request: self.send(request, num_bytes)

    async def send(self, request: web.Request, num_bytes: int) -> web.StreamResponse:
        asked = request.headers.get("Range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        response = web.StreamResponse(status=206 if asked else 200)
        response.content_length = len(self.content) - start
        if asked:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        if self.etag:
            response.headers["ETag"] = self.etag.format(hashlib.md5(self.content).hexdigest())
        await response.prepare(request)
        body = self.content[start : start + num_bytes]
        await response.write(body)
        if len(body) < len(self.content) - start:
            await asyncio.sleep(0)
            if request.transport is not None:
                request.transport.close()  # after what was written
        return response


def answering(status: int, **headers: str) -> Answer:
    """Nothing but a status."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer
