"""
Which network addresses are the public internet, and a resolver that knows no others.

A row of the database may name any address; fetching it must not become a way into the lab's network. What counts is the
address that is connected to, so the answer of the name server is judged, at the moment of connecting: a name that
resolves to something harmless first and to the printer next gains nothing.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from worker.exceptions import AudioUrlRefusedError

SPECIAL_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds' metadata
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
"""IANA IPv4 Special-Purpose Address Registry, and multicast."""

PUBLIC_IPV6 = IPv6Network("2000::/3")
SPECIAL_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
"""All global unicast is in 2000::/3; these of it are special (IANA IPv6 Special-Purpose Address Registry)."""

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that is really reached."""


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public internet. IPv4 in IPv6 clothes (::ffff:a.b.c.d) never is."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found in NAT64:
            return _is_public_ipv4(IPv4Address(int(found) & 0xFFFF_FFFF))
        return found in PUBLIC_IPV6 and not any(found in network for network in SPECIAL_IPV6)
    return _is_public_ipv4(found)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in SPECIAL_IPV4)


class PublicResolver(AbstractResolver):
    """What the system's resolver says, without the addresses that are nobody's business."""

    def __init__(self) -> None:
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AudioUrlRefusedError when nothing public is left."""
        try:
            found = await self._system.resolve(host, port, family)
        except UnicodeError:
            raise AudioUrlRefusedError from None  # no host name: an empty label, or one of over 63 letters
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise AudioUrlRefusedError
        return public

    async def close(self) -> None:
        await self._system.close()
