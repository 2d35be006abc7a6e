"""
A model hub for tests: an HTTP server on 127.0.0.1 that answers huggingface_hub as huggingface.co does.

Large files are announced with their SHA-256 (Git LFS), small ones with git's hash. Errors carry the headers
X-Error-Code and X-Error-Message by which the client tells them apart. Source: huggingface_hub 0.36, utils/_http.py and
file_download.py (what it reads), and the hub's public API.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 1000
"""Files from this size on are kept in Git LFS."""


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Refusal:
    """What the hub answers instead of a model."""

    status: int
    code: str = ""
    message: str = ""


NO_TOKEN = Refusal(401, "GatedRepo", "Access to model is restricted. You must have access to it and be authenticated.")
NO_TERMS = Refusal(403, "GatedRepo", "Access to model is restricted and you are not in the authorized list.")
NO_MODEL = Refusal(404, "RepoNotFound", "Repository not found")
NOT_SAID = Refusal(401, "RepoNotFound", "Invalid username or password.")
BAD_TOKEN = Refusal(401, "", "Invalid credentials in Authorization header")
WEAK_TOKEN = Refusal(403, "", "This token may not read gated repositories")
DOWN = Refusal(503)
TOO_OFTEN = Refusal(429)


@dataclass(frozen=True)
class SeenRequest:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class FakeHub:
    """
    Serves from `with FakeHub(...) as hub:` on; `hub.url` is an HF_ENDPOINT. Attributes may be changed meanwhile.

    Attributes:
        models: files by repository.
        cut_after: a body ends after so many bytes, with the connection, as often as `num_cuts` says.
        hold_after: a body pauses after so many bytes until `go_on` is set; `held` says that one does.
        damaged: names of files whose bytes arrive wrong.
    """

    models: Mapping[str, Mapping[str, bytes]]
    refusal: Refusal | None = None
    licence: str = "apache-2.0"
    cut_after: int | None = None
    num_cuts: int = 1
    hold_after: int | None = None
    damaged: set[str] = field(default_factory=set)
    requests: list[SeenRequest] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"of": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ranges(self) -> list[str]:
        return [seen.range for seen in self.requests if seen.range]

    def fetched(self, name: str) -> int:
        """How often somebody asked for the file's bytes."""
        return sum(seen.method == "GET" and seen.path.endswith(f"/{name}") for seen in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: FakeHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.of.requests.append(
            SeenRequest(self.command, path, self.headers.get("Range"), self.headers.get("Authorization"))
        )
        if self.of.refusal is not None:
            self._refuse(self.of.refusal)
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]))
        else:
            self._give("/".join(parts[:2]), "/".join(parts[4:]))

    def _refuse(self, refusal: Refusal) -> None:
        headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
        self._send(refusal.status, {name: value for name, value in headers.items() if value})

    def _describe(self, repository: str) -> None:
        if repository not in self.of.models:
            self._refuse(NO_MODEL)
            return
        siblings = [self._sibling(name, content) for name, content in self.of.models[repository].items()]
        said = {"id": repository, "sha": REVISION, "siblings": siblings, "cardData": {"license": self.of.licence}}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    def _sibling(self, name: str, content: bytes) -> dict[str, object]:
        told: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
        if len(content) >= LFS_BYTES:
            digest = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
        return told

    def _give(self, repository: str, name: str) -> None:
        content = self.of.models.get(repository, {}).get(name)
        if content is None:
            self._refuse(Refusal(404, "EntryNotFound"))
            return
        is_large = len(content) >= LFS_BYTES
        digest = hashlib.sha256(content).hexdigest() if is_large else git_hash(content)
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if is_large:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if name in self.of.damaged:
            content = bytes(reversed(content))
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, headers, content[start:])

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self._write(body)

    def _write(self, body: bytes) -> None:
        hub = self.of
        try:
            if hub.cut_after is not None and len(body) > hub.cut_after and hub.num_cuts > 0:
                hub.num_cuts -= 1
                self.wfile.write(body[: hub.cut_after])
                self.close_connection = True
                return
            if hub.hold_after is not None and len(body) > hub.hold_after:
                self.wfile.write(body[: hub.hold_after])
                self.wfile.flush()
                hub.held.set()
                hub.go_on.wait(60)
                body = body[hub.hold_after :]
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
