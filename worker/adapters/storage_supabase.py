"""
Recordings in the project's private bucket: how Storage is reached. See download_supabase and upload_supabase.

Only the project's own host is ever asked, and redirects are not followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from worker import __version__
from worker.adapters.download_source import Pace
from worker.exceptions import AudioMissingError
from worker.ports import Report, unheard

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientSession
    from storage3 import AsyncStorageClient

PROBE = "__probe__"
"""An object that nobody uploads: no audio_path of ours is without a folder."""


class SupabaseStorage:
    """
    Implements `ports.Storage`.

    Args:
        url: the project's, as SUPABASE_URL has it.
        key: goes into `apikey`, and is the Bearer too when there is no `worker_token`.
        call_timeout_s: for each silence of a call that signs or asks for the size; the transfer has its `pace`.
        ssl_context: whose certificates count; by default certifi's, or those of SSL_CERT_FILE.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        worker_token: str | None = None,
        bucket: str = "meeting-audio",
        call_timeout_s: float = 20.0,
        pace: Pace | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"apikey": key, "Authorization": f"Bearer {worker_token or key}"}
        self._bucket = bucket
        self._call_timeout_s = call_timeout_s
        self._pace = pace or Pace()
        self._ssl_context = ssl_context

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        """See `ports.Storage`. The file's time is that of its last change in the bucket, and tells versions apart."""
        from worker.adapters.download_supabase import BucketSource, checked_name
        from worker.adapters.http_download import download

        name = checked_name(address)
        async with self._client() as client, self._session() as session:
            source = BucketSource(client, session, f"{self._url}/storage/v1/", self._bucket, name)
            await download(source, target, max_bytes=max_bytes, report=report, pace=self._pace)

    async def put(self, source: Path, audio_path: str, *, report: Report = unheard) -> None:
        """See `ports.Storage`. Its SHA-256 goes with it, and is what `fetch` checks."""
        from worker.adapters.download_supabase import checked_name
        from worker.adapters.upload_supabase import upload

        name = checked_name(audio_path)
        async with self._session() as session:
            await upload(
                source,
                name,
                session=session,
                base=f"{self._url}/storage/v1/",
                bucket=self._bucket,
                headers=self._headers,
                report=report,
                pace=self._pace,
            )

    async def probe(self) -> None:
        """
        Ask for an object that is not there: the answer shows whether the key is let in.

        Proven: the server is a Storage; the key or token is one of this project and has not expired; its role exists;
        the bucket exists. Not proven: that the role may read the bucket. To somebody without that right Storage answers
        as if nothing were there, an anon key included; only fetching a recording shows it.

        Raises SupabaseAccessError (refused, with the reason), SupabaseStorageError (no bucket, or no answer).
        """
        from worker.adapters.download_supabase import sign

        async with self._client() as client:
            found = await sign(client, self._bucket, PROBE)
        if not isinstance(found, str | AudioMissingError):
            raise getattr(found, "ours", found)

    async def close(self) -> None:
        """Nothing is held between two calls."""

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncStorageClient]:
        import httpx
        from storage3 import AsyncStorageClient

        timeout = httpx.Timeout(self._call_timeout_s, connect=min(self._pace.connect_s, self._call_timeout_s))
        verify = self._ssl_context or default_certificates()
        async with httpx.AsyncClient(timeout=timeout, verify=verify, follow_redirects=False) as http:
            yield AsyncStorageClient(f"{self._url}/storage/v1/", dict(self._headers), http_client=http)

    def _session(self) -> ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._ssl_context or default_certificates()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._pace.connect_s),
            headers={"User-Agent": f"pc-worker/{__version__}"},
            auto_decompress=False,
            trust_env=True,  # a lab behind a proxy; httpx reads the same variables
        )


@cache
def default_certificates() -> ssl.SSLContext:
    """One for both libraries, which would disagree on whose certificates count. Made once: it takes 20 ms."""
    import httpx

    return httpx.create_ssl_context()
