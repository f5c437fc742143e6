"""Connections to addresses that clients name: to the public internet alone, whatever a name resolves to (OWASP, "Server Side
Request Forgery Prevention", case 2). The address that was looked at is the one that is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

import httpcore

#: Of a name; the first that answers is taken.
_TRIED: Final = 4
#: Through these an IPv6 address reaches an IPv4 one that is written in it (RFC 6052, RFC 3056, RFC 4380).
_TRANSLATED: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class NotPublic(httpcore.ConnectError):
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


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """``loopback``: this machine too, for development."""

    def __init__(self, *, loopback: bool = False) -> None:
        self._loopback = loopback
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """``timeout``: seconds for all of it. Raises :class:`NotPublic`, ``httpcore.ConnectError`` and ``ConnectTimeout``."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(type(error).__name__) from None
        addresses = [address for *_, at in found if allowed(address := str(at[0]), loopback=self._loopback)]
        if not addresses:
            raise NotPublic
        failure: Exception = httpcore.ConnectError()
        for address in addresses[:_TRIED]:
            try:
                return await self._network.connect_tcp(address, port, None, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure
