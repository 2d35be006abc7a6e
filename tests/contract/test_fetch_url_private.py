"""Nothing inside somebody's network can be fetched by writing its address into a row."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.storage_downloads import HURRIED
from tests.support.web_server import WebServer, answering, trusting
from worker.adapters import public_addresses
from worker.adapters.fetch_url import MAX_URL_LENGTH, UrlFetcher
from worker.adapters.public_addresses import is_public
from worker.exceptions import AudioUrlRefusedError

PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111"]
PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]


@pytest.mark.parametrize("address", [*PUBLIC, "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    """In a network with IPv6 only, 64:ff9b:: is how IPv4 is reached: there the address inside counts."""
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


async def refused(address: str, target: Path, **arguments: Any) -> None:
    fetcher = UrlFetcher(ssl_context=trusting(), pace=HURRIED, **arguments)
    with pytest.raises(AudioUrlRefusedError) as caught:
        await fetcher.fetch(address, target, max_bytes=10**9, report=lambda _: None)
    assert "127.0.0.1" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


NOT_AN_ADDRESS = {
    "nothing": "",
    "http": "http://example.org/a.wav",
    "ftp": "ftp://example.org/a.wav",
    "a file": "file:///etc/passwd",
    "no scheme": "example.org/a.wav",
    "no host": "https:///a.wav",
    "a user": "https://me@example.org/a.wav",
    "a user and a password": "https://me:secret@example.org/a.wav",
    "an empty user": "https://@example.org/a.wav",
    "a space": "https://example.org/a b.wav",
    "a new line": "https://example.org/a\r\nHost: b",
    "a backslash": "https://example.org\\@127.0.0.1/",
    "a port that is none": "https://example.org:99999/",
    "an open bracket": "https://[::1/",
    "an endless address": "https://example.org/" + "a" * MAX_URL_LENGTH,
}


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("address", NOT_AN_ADDRESS.values(), ids=NOT_AN_ADDRESS)
async def test_what_is_no_https_address_is_refused(tmp_path: Path, address: str, allow_private: bool) -> None:
    await refused(address, tmp_path / "source", allow_private=allow_private)


HOSTS = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "0",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "recorder.localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "127.0.0.1.",
    "\uff11\uff12\uff17.0.0.1",  # full-width digits, which become plain ones
    "a..b",
    "a" * 64 + ".org",
]


@pytest.mark.parametrize("host", HOSTS)
async def test_this_pc_cannot_be_reached_by_any_of_its_names(tmp_path: Path, host: str) -> None:
    """The server is there, and would answer."""
    (tmp_path / "job").mkdir()
    async with WebServer(tmp_path, b"secret") as server:
        port = server.url.split(":")[2].split("/")[0]
        await refused(f"https://{host}:{port}/audio.wav", tmp_path / "job" / "source")
        assert server.requests == []


async def test_what_a_name_leads_to_counts_when_it_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server may say something harmless first, and something else to whoever asks again."""
    (tmp_path / "job").mkdir()
    asked = []
    async with WebServer(tmp_path, b"secret") as server:
        port = int(server.url.split(":")[2].split("/")[0])

        def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        await refused(f"https://rebinding.example:{port}/audio.wav", tmp_path / "job" / "source")
        assert server.requests == []
    assert asked == ["rebinding.example"]


async def test_a_redirect_does_not_lead_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a public server, played by ours: here 127.0.0.1 counts as public."""
    (tmp_path / "job").mkdir()
    special = tuple(network for network in public_addresses.SPECIAL_IPV4 if not network.is_loopback)
    monkeypatch.setattr(public_addresses, "SPECIAL_IPV4", special)
    async with WebServer(tmp_path, b"public") as server:
        server.answers = [answering(302, Location="https://10.1.2.3/audio.wav")]
        await refused(server.url, tmp_path / "job" / "source")
        assert len(server.requests) == 1


async def test_private_addresses_can_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    async with WebServer(tmp_path, b"a lab's recorder") as server:
        fetcher = UrlFetcher(allow_private=True, ssl_context=trusting(), pace=HURRIED)
        await fetcher.fetch(server.url, tmp_path / "job" / "source", max_bytes=100, report=lambda _: None)
        assert (tmp_path / "job" / "source").read_bytes() == b"a lab's recorder"


async def test_a_proxy_of_the_environment_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name itself, behind the back of every check."""
    (tmp_path / "job").mkdir()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with WebServer(tmp_path, b"direct") as server:
        fetcher = UrlFetcher(allow_private=True, ssl_context=trusting(), pace=HURRIED)
        await fetcher.fetch(server.url, tmp_path / "job" / "source", max_bytes=100, report=lambda _: None)
    assert (tmp_path / "job" / "source").read_bytes() == b"direct"
