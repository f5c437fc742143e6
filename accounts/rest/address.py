"""The address a request or a socket came from: what limits by address count, loopback included."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

#: The source address of who has none.
UNKNOWN: Final = "unknown"
#: As ``str(ipaddress.IPv4Address)`` writes it. Each socket asks, and parsing is dear.
_IPV4: Final = re.compile(
    r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=8)
def _networks(text: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in text)


def source_address(request: HttpRequest) -> str:
    """:func:`resolve` for a request of Django."""
    return resolve(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))


def scope_address(scope: Mapping[str, Any]) -> str:
    """:func:`resolve` for an ASGI connection; a header that is repeated is one list (RFC 9110, section 5.3)."""
    client = scope.get("client")
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return resolve(client[0] if client else "", b",".join(forwarded).decode("latin-1"))


def is_proxy(address: str) -> bool:
    """Whether this peer is one of ``TRUSTED_PROXIES``."""
    return _inside(address, _networks(tuple(settings.TRUSTED_PROXIES)))


def resolve(peer: str, forwarded: str) -> str:
    """The peer, or what trusted proxies in front of us say it was; an IPv6 address as its /64, which one customer holds.

    ``X-Forwarded-For`` is read from the right: each trusted proxy vouches for the entry before it, everything further left
    is the client's own invention.
    """
    trusted = _networks(tuple(settings.TRUSTED_PROXIES))
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    address = peer
    while hops and _inside(address, trusted):
        address = hops.pop()
    if _IPV4.fullmatch(address):
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return UNKNOWN  # counted all the same: all unknown ones together
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
