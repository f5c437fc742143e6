"""Connections to addresses that clients name: to the public internet alone, whatever a name resolves to (OWASP, "Server Side
Request Forgery Prevention", case 2). The address that was looked at is the one that is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import httpcore

_P = TypeVar("_P", bound=asyncio.Protocol)
#: Of a name; the first that answers is taken.
_TRIED: Final = 4
#: Through these an IPv6 address reaches an IPv4 one that is written in it (RFC 6052, RFC 3056, RFC 4380).
_TRANSLATED: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class NotPublic(Exception):
    """The name has no address that may be connected to."""


def allowed(address: str, *, loopback: bool) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif any(found in network for network in _TRANSLATED):
            return False
    if found.is_loopback:
        return loopback
    return found.is_global and not found.is_multicast


async def addresses(host: str, port: int, *, loopback: bool) -> list[str]:
    """Of a name, those that may be connected to. Raises :class:`NotPublic` where there is none, and ``OSError``."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise NotPublic from None
    public = [address for *_, at in found if allowed(address := str(at[0]), loopback=loopback)]
    if not public:
        raise NotPublic
    return public[:_TRIED]


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """For httpcore and :mod:`notifications.senders.http2`. ``loopback``: this machine too, for development."""

    def __init__(self, *, loopback: bool = False) -> None:
        self._loopback = loopback
        self._network = httpcore.AnyIOBackend()

    async def create_connection(
        self,
        protocol_factory: Callable[[], _P],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext,
        server_hostname: str,
    ) -> tuple[asyncio.Transport, _P]:
        """As the loop's. Raises :class:`NotPublic` and ``OSError``."""
        loop = asyncio.get_running_loop()
        failure = OSError()
        for address in await addresses(host, port, loopback=self._loopback):
            try:
                return await loop.create_connection(
                    protocol_factory, address, port, ssl=ssl, server_hostname=server_hostname
                )
            except OSError as error:
                failure = error
        raise failure

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """``timeout``: seconds for all of it. Raises :class:`NotPublic`, ``httpcore.ConnectError`` and ``ConnectTimeout``."""
        failure = httpcore.ConnectError()
        try:
            async with asyncio.timeout(timeout):
                for address in await addresses(host.strip("[]"), port, loopback=self._loopback):
                    try:
                        return await self._network.connect_tcp(
                            address, port, None, local_address, socket_options
                        )
                    except httpcore.ConnectError as error:
                        failure = error
        except TimeoutError:
            raise httpcore.ConnectTimeout from None
        except OSError:
            raise httpcore.ConnectError from None
        raise failure
