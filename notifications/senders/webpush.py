"""Web Push: notifications for browsers, through the push service of each (RFC 8030), encrypted (RFC 8291) and signed (RFC 8292).

One app has as many push services as there are browsers, and a client says which is its own. So what one of them answers, or that
it does not answer, says nothing about the app (``Result.of_app``): the others are served on. docs/adr/0141.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from notifications import sealing
from notifications.endpoints import refusal
from notifications.senders.interface import Outcome, Push, PushApp, Result, Target, Urgency
from notifications.senders.public_network import NotPublic, PublicNetwork
from notifications.senders.retry_after import retry_after_ms
from notifications.vapid import Vapid, private_key_of
from whatsapp.infra.breaker import Breaker, Policy
from whatsapp.infra.clock import now_ms

#: RFC 8030, 5.3. ``normal`` is its word for a chat message; ``very-low`` would wait for a charger.
_URGENCIES: Final = {Urgency.CALL: "high", Urgency.MESSAGE: "normal", Urgency.SILENT: "low"}
#: Seconds; push services take four weeks at least.
LONGEST_TTL: Final = 28 * 86_400
#: Bytes of an answer that are read. It is only searched for a word.
LARGEST_ANSWER: Final = 4_096
#: Push services that are remembered: whether they answer, and until when they want to be left alone.
_KEPT: Final = 256
#: Of one push service.
_POLICY: Final = Policy(failures=5, open_s=10)
#: Safari ends a subscription after some pushes that showed nothing.
_ALWAYS_SHOWN: Final = ".push.apple.com"
#: In the text of a 400: it is about who we are, not about this push.
_ABOUT_US: Final = (b"vapid", b"jwt", b"authorization", b"unauthorized")


class Times(NamedTuple):
    """Seconds."""

    connect: float = 5
    read: float = 10  # without hearing anything; then the connection is given up
    whole: float = 20  # of one push


class _Service:
    """What is known of one push service."""

    def __init__(self, app: str, clock: Callable[[], float]) -> None:
        self.breaker = Breaker(app, "webpush", _POLICY, clock)
        self.quiet_until = 0.0


class WebPushSender:
    provider = "webpush"

    def __init__(
        self,
        app: PushApp,
        vapid: Vapid,
        tls: ssl.SSLContext,
        times: Times = Times(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._vapid, self._times, self._clock = app, vapid, times, clock
        self.public_key = vapid.public_key
        self._services: OrderedDict[str, _Service] = OrderedDict()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=app.concurrency,
            max_keepalive_connections=20,
            keepalive_expiry=60,
            http2=True,
            network_backend=PublicNetwork(loopback=app.options.get("loopback") == "1"),
        )

    @classmethod
    def from_options(cls, app: PushApp, times: Times = Times()) -> WebPushSender:
        """Options: ``private_key`` or ``key_file``, ``subject``, ``hosts``, ``loopback``, ``ca_file`` (docs/push.md). Raises
        ``BadVapid``, and ``OSError`` for a ``ca_file`` that cannot be read."""
        vapid = Vapid(private_key_of(app.options), app.options.get("subject", ""))
        tls = httpcore.default_ssl_context()
        if file := app.options.get("ca_file"):
            tls = ssl.create_default_context(cafile=file)
        return cls(app, vapid, tls, times)

    async def close(self) -> None:
        await self._pool.aclose()

    async def send(self, target: Target, push: Push) -> Result:
        if refusal(target.token, self._app.options):
            return Result(Outcome.REFUSED, "Endpoint")
        parts = urlsplit(target.token)
        if push.urgency is Urgency.SILENT and f".{parts.hostname}".endswith(_ALWAYS_SHOWN):
            return Result(Outcome.REFUSED, "AlwaysShown")
        origin = f"https://{parts.netloc.removesuffix(':443')}"
        service = self._service(origin)
        wait_s = max(service.quiet_until - self._clock(), service.breaker.opens_in_s)
        if wait_s > 0 or (began := service.breaker.begin()) is None:
            return Result(Outcome.LATER, "Paused", retry_after_ms=max(1_000, int(wait_s * 1_000)))
        ended = service.breaker.cancelled
        try:
            result = await self._send(target, origin, push)
            if result.outcome is Outcome.LATER and (result.status == 0 or result.status >= 500):
                ended = service.breaker.failed
            elif result.status:
                ended = service.breaker.succeeded
        finally:
            ended(began)
        if result.retry_after_ms and result.status in (429, 503):
            service.quiet_until = self._clock() + result.retry_after_ms / 1_000
        return result

    def _service(self, origin: str) -> _Service:
        service = self._services.get(origin)
        if service is None:
            service = self._services[origin] = _Service(self._app.name, self._clock)
            if len(self._services) > _KEPT:
                self._services.popitem(last=False)
        self._services.move_to_end(origin)
        return service

    async def _send(self, target: Target, origin: str, push: Push) -> Result:
        result = await self._post(target, origin, push, push.content)
        if result.status == 413 and push.content is not None:
            result = await self._post(target, origin, push, None)
        if result.outcome is Outcome.MISCONFIGURED:
            self._vapid.forget(origin)
        return result

    async def _post(self, target: Target, origin: str, push: Push, content: bytes | None) -> Result:
        headers: dict[str | bytes, str | bytes] = {
            "TTL": str(min(max(0, push.ttl_s), LONGEST_TTL)),
            "Urgency": _URGENCIES[push.urgency],
            "Topic": push.collapse,
            "Authorization": self._vapid.authorization(origin),
        }
        body = b""
        if target.p256dh and target.auth:
            try:
                body = sealing.seal(payload(push, content), target.p256dh, target.auth)
            except sealing.CannotSeal:
                return Result(Outcome.REFUSED, "Keys")
            headers |= {"Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream"}
        headers["Content-Length"] = str(len(body))
        status, retry_after, said = 0, None, b""
        try:
            async with (
                asyncio.timeout(self._times.whole),
                self._pool.stream(
                    "POST", target.token, headers=headers, content=body, extensions=self._extensions()
                ) as response,
            ):
                status = response.status
                retry_after = _header(response.headers, b"retry-after")
                async for part in response.aiter_stream():
                    said += part
                    if len(said) >= LARGEST_ANSWER:
                        break
        except NotPublic:
            return Result(Outcome.REFUSED, "NotPublic")
        except (
            TimeoutError,
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
        ) as error:
            # Behind the status it does not matter what became of the rest.
            if not status:
                timed_out = isinstance(error, TimeoutError | httpcore.TimeoutException)
                return Result(Outcome.LATER, "Timeout" if timed_out else "ConnectionLost")
        return answered(status, said[:LARGEST_ANSWER], retry_after_ms(retry_after, now_ms()))

    def _extensions(self) -> dict[str, Mapping[str, float]]:
        times = self._times
        return {
            "timeout": {
                "connect": times.connect, "read": times.read, "write": times.read, "pool": times.whole,
            }
        }  # fmt: skip


def payload(push: Push, content: bytes | None) -> bytes:
    """What the service worker gets, JSON: ``type`` (a value of :class:`Urgency`), ``id``, ``collapse``, ``badge`` unless it stays
    as it is, and ``content`` where there is one that fits."""
    said: dict[str, str | int] = {"type": push.urgency.value, "id": push.id, "collapse": push.collapse}
    if push.badge is not None:
        said["badge"] = push.badge
    plain = json.dumps(said, separators=(",", ":")).encode()
    if content is not None:
        whole = plain[:-1] + b',"content":' + content + b"}"
        if len(whole) <= sealing.LONGEST:
            return whole
    return plain


def answered(status: int, said: bytes, retry_after: int | None) -> Result:
    """What an answer means. RFC 8030, sections 5 and 8.4; RFC 8292, 4.2; the rest is what push services do."""
    if 200 <= status < 300:
        return Result(Outcome.ACCEPTED, "", status)
    if status in (404, 410):
        return Result(Outcome.GONE, "Gone", status)
    if status in (401, 403) or (status == 400 and any(word in said.lower() for word in _ABOUT_US)):
        return Result(Outcome.MISCONFIGURED, "Vapid", status)
    if status in (429, 406):  # 406: how the push service of Windows says it
        return Result(Outcome.LATER, "TooManyRequests", status, retry_after)
    if status >= 500 or status in (408, 425):
        return Result(Outcome.LATER, "Unavailable", status, retry_after)
    reason = {400: "BadRequest", 413: "TooLarge"}.get(
        status, "Redirected" if 300 <= status < 400 else "Other"
    )
    return Result(Outcome.REFUSED, reason, status)


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)
