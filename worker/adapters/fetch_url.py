"""
Recordings at any https address: `meetings.audio_url`.

The address comes from a row that anybody may have written. It is fetched without cookies, credentials or a proxy, from
the public internet only, and what it leads to inside a network never shows in a message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker import __version__
from worker.adapters.download_source import Pace, Remote
from worker.adapters.storage_errors import Passing, may_pass
from worker.exceptions import AudioDownloadError, AudioMissingError, AudioUrlRefusedError, PCWorkerException
from worker.ports import Report

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

MAX_REDIRECTS = 5
MAX_URL_LENGTH = 4096
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NO_ACCESS = (
    "The server behind the meeting's audio_url wants a sign-in. Use a link that works without one, or upload the file."
)
NOTHING_THERE = "There is no recording at the meeting's audio_url. Check the link, then retry the meeting."
REFUSED = "The server behind the meeting's audio_url refuses to give the recording. Check the link in a browser."
TOO_MANY_REDIRECTS = "The meeting's audio_url is redirected too often. Use the link that it leads to in a browser."

_NO_URL_LETTERS = re.compile(r"[\x00-\x20\x7f\\]")


class UrlFetcher:
    """
    Implements `ports.Fetcher` for https addresses.

    Args:
        allow_private: also addresses inside private networks, for a lab whose recorder serves its files itself.
        ssl_context: whose certificates count; the system's by default.
    """

    def __init__(
        self, *, allow_private: bool = False, ssl_context: ssl.SSLContext | None = None, pace: Pace | None = None
    ) -> None:
        self._allow_private = allow_private
        self._ssl_context = ssl_context
        self._pace = pace or Pace()

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        """See `ports.Fetcher`. Resumed only where the server names its bytes (a strong ETag, Last-Modified)."""
        from worker.adapters.http_download import download

        url = checked_url(address, allow_private=self._allow_private)
        async with self._session() as session:
            source = _WebSource(session, url, allow_private=self._allow_private)
            await download(source, target, max_bytes=max_bytes, report=report, pace=self._pace)

    def _session(self) -> ClientSession:
        import aiohttp

        from worker.adapters.public_addresses import PublicResolver

        connector = aiohttp.TCPConnector(
            resolver=aiohttp.ThreadedResolver() if self._allow_private else PublicResolver(),
            use_dns_cache=False,
            ssl=self._ssl_context or True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._pace.connect_s),
            headers={"User-Agent": f"pc-worker/{__version__}"},
            auto_decompress=False,
            trust_env=False,
        )


def checked_url(address: str, *, allow_private: bool) -> URL:
    """
    Raises AudioUrlRefusedError unless it is https, names a host, holds no user or password, and does not name this PC
    or a numeric address outside the public internet. What a name leads to is judged when it is connected to.
    """
    from yarl import URL

    if len(address) > MAX_URL_LENGTH or _NO_URL_LETTERS.search(address):
        raise AudioUrlRefusedError
    try:
        url, authority = URL(address), urlsplit(address).netloc
        host = url.host if url.port else None
    except ValueError:
        host, authority = None, ""
    if not host or "@" in authority or url.scheme != "https":
        raise AudioUrlRefusedError
    if not allow_private and not _may_be_public(host):
        raise AudioUrlRefusedError
    return url.with_fragment(None)


def _may_be_public(host: str) -> bool:
    """False for a name of this PC (RFC 6761) and for a numeric address that is not public."""
    from worker.adapters.public_addresses import is_public

    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return False
    try:
        ip_address(name)
    except ValueError:
        return True
    return is_public(name)


class _WebSource:
    """Implements `download_source.Source`."""

    def __init__(self, session: ClientSession, url: URL, *, allow_private: bool) -> None:
        self._session = session
        self._url = url
        self._allow_private = allow_private

    async def locate(self) -> Remote:
        """Nothing is known before the first answer; the version is a hash, since the address may hold a token."""
        return Remote(str(self._url), version=hashlib.sha256(str(self._url).encode()).hexdigest())

    @asynccontextmanager
    async def get(self, remote: Remote, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        """Redirects are followed by hand, so that each hop is checked like the first address."""
        from yarl import URL

        url = URL(remote.address, encoded=True)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                url = self._next(url, response.headers.get("Location", ""))
        raise AudioUrlRefusedError(TOO_MANY_REDIRECTS)

    def _next(self, url: URL, location: str) -> URL:
        from yarl import URL

        try:
            found = str(url.join(URL(location))) if location else ""
        except ValueError:
            found = ""
        return checked_url(found, allow_private=self._allow_private)

    def validator(self, response: ClientResponse) -> str | None:
        """Source: RFC 9110, 8.8: a weak ETag (W/) promises the same meaning, not the same bytes."""
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            return etag
        return response.headers.get("Last-Modified") or None

    async def refusal(self, response: ClientResponse) -> PCWorkerException | Passing:
        details: dict[str, Any] = {"status": response.status}
        if response.status in (404, 410):
            return AudioMissingError(NOTHING_THERE, **details)
        if may_pass(response.status):
            return Passing(AudioDownloadError(**details))
        return AudioUrlRefusedError(NO_ACCESS if response.status in (401, 403, 407) else REFUSED, **details)
