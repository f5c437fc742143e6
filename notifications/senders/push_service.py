"""One push service of browsers: how it is asked, and what is remembered of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import httpcore

from notifications.senders import http2
from notifications.senders.http2 import Answer, Client, Lost, Times, Unsent
from notifications.senders.public_network import PublicNetwork
from whatsapp.infra.breaker import Breaker, Policy

#: Of one push service.
POLICY: Final = Policy(failures=5, open_s=10)
_HTTP1_AT_MOST: Final = 20  # connections to all push services that speak nothing else


class Network:
    """What all push services of an app are reached through. ``authorities``: a file of certificates; None: those of browsers."""

    def __init__(self, authorities: str | None, times: Times, *, loopback: bool) -> None:
        """Raises ``OSError``."""
        self.times = times
        self.public = PublicNetwork(loopback=loopback)
        self.tls = _tls(authorities)
        self.tls.set_alpn_protocols(["h2", "http/1.1"])
        self.http1 = httpcore.AsyncConnectionPool(
            ssl_context=_tls(authorities),
            max_connections=_HTTP1_AT_MOST,
            keepalive_expiry=60,
            network_backend=self.public,
        )


class Origin(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        """RFC 6454, 6.2."""
        return f"https://{self.netloc}"

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


class PushService:
    """Over one HTTP/2 connection; over HTTP/1.1 from when it has shown that it speaks nothing else."""

    def __init__(
        self, app: str, origin: Origin, network: Network, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.breaker = Breaker(app, "webpush", POLICY, clock)
        self.quiet_until = 0.0  # it wants to be left alone, by the clock
        self._origin, self._network = origin, network
        self._client: Client | None = Client(
            *origin, network.tls, network.times, connect=network.public.create_connection
        )

    async def post(self, path: str, headers: Mapping[str, str], body: bytes, *, first: bool) -> Answer:
        """``first``: before those that wait. Raises ``Unsent``, ``Lost`` and ``NotPublic``."""
        if self._client is not None:
            pseudo = {
                ":method": "POST",
                ":scheme": "https",
                ":authority": self._origin.netloc,
                ":path": path,
            }
            try:
                return await self._client.post(list({**pseudo, **headers}.items()), body, first=first)
            except Unsent as error:
                if error.args != ("NoHttp2",):
                    raise
                self._client = None
        return await self._post1(path, headers, body)

    async def _post1(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        times = self._network.times
        limits = {"connect": times.connect, "pool": times.wait, "write": times.answer, "read": times.answer}
        status, found, said = 0, {}, b""
        try:
            async with (
                asyncio.timeout(sum(times)),
                self._network.http1.stream(
                    "POST",
                    f"{self._origin}{path}",
                    headers=list(headers.items()),
                    content=body,
                    extensions={"timeout": limits},
                ) as response,
            ):
                found = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                status = response.status
                async for part in response.aiter_stream():
                    said += part
                    if len(said) >= http2.LARGEST_ANSWER:
                        break
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise Unsent("Unreachable") from None
        except httpcore.PoolTimeout:
            raise Unsent("NoStream") from None
        except (TimeoutError, httpcore.TimeoutException):
            if not status:  # behind it nothing else matters
                raise Lost("Timeout") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            if not status:
                raise Lost("ConnectionLost") from None
        return Answer(status, found, said[: http2.LARGEST_ANSWER])

    def retire(self) -> None:
        """It is forgotten; what is under way may end."""
        if self._client is not None:
            self._client.retire()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _tls(authorities: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authorities) if authorities else httpcore.default_ssl_context()
