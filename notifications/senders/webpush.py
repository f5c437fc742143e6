"""Web Push: notifications for browsers, through the push service of each (RFC 8030), encrypted (RFC 8291) and signed (RFC 8292).

One app has as many push services as there are browsers, and a client says which is its own. So what one of them answers, or that
it does not answer, says nothing about the app (``Result.of_app``): the others are served on. docs/adr/0141.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from notifications import sealing
from notifications.endpoints import refusal
from notifications.senders.http2 import Lost, Times, Unsent
from notifications.senders.interface import Outcome, Push, PushApp, Result, Target, Urgency
from notifications.senders.public_network import NotPublic
from notifications.senders.push_service import Network, Origin, PushService
from notifications.senders.retry_after import retry_after_ms
from notifications.vapid import Vapid, private_key_of
from whatsapp.infra.clock import now_ms

#: RFC 8030, 5.3. ``normal`` is its word for a chat message; ``very-low`` would wait for a charger.
_URGENCIES: Final = {Urgency.CALL: "high", Urgency.MESSAGE: "normal", Urgency.SILENT: "low"}
#: Seconds; push services take four weeks at least.
LONGEST_TTL: Final = 28 * 86_400
#: Bytes of an answer that are read. It is only searched for a word.
LARGEST_ANSWER: Final = 4_096
#: Push services that are remembered: whether they answer, and until when they want to be left alone.
_KEPT: Final = 256
#: Safari ends a subscription after some pushes that showed nothing.
_ALWAYS_SHOWN: Final = ".push.apple.com"
#: In the text of a 400: it is about who we are, not about this push.
_ABOUT_US: Final = (b"vapid", b"jwt", b"authorization", b"unauthorized")


class WebPushSender:
    provider = "webpush"

    def __init__(
        self, app: PushApp, times: Times = Times(), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Options: ``private_key`` or ``key_file``, ``subject``, ``hosts``, ``loopback``, ``ca_file`` (docs/push.md). Raises
        ``BadVapid``, and ``OSError`` for a ``ca_file`` that cannot be read."""
        self._vapid = Vapid(private_key_of(app.options), app.options.get("subject", ""))
        self._network = Network(
            app.options.get("ca_file"), times, loopback=app.options.get("loopback") == "1"
        )
        self._app, self._clock = app, clock
        self._services: OrderedDict[Origin, PushService] = OrderedDict()

    @classmethod
    def from_options(cls, app: PushApp) -> WebPushSender:
        return cls(app)

    @property
    def public_key(self) -> str:
        """What browsers subscribe for, base64url."""
        return self._vapid.public_key

    async def close(self) -> None:
        for service in self._services.values():
            await service.close()
        await self._network.http1.aclose()

    async def send(self, target: Target, push: Push) -> Result:
        if refusal(target.token, self._app.options):
            return Result(Outcome.REFUSED, "Endpoint")
        parts = urlsplit(target.token)
        if push.urgency is Urgency.SILENT and f".{parts.hostname}".endswith(_ALWAYS_SHOWN):
            return Result(Outcome.REFUSED, "AlwaysShown")
        origin = Origin(parts.hostname or "", parts.port or 443)
        service = self._service(origin)
        wait_s = max(service.quiet_until - self._clock(), service.breaker.opens_in_s)
        if wait_s > 0 or (began := service.breaker.begin()) is None:
            return Result(Outcome.LATER, "Paused", retry_after_ms=max(1_000, int(wait_s * 1_000)))
        ended = service.breaker.cancelled
        try:
            result = await self._send(service, target, origin, push)
            if result.outcome is Outcome.LATER and (result.status == 0 or result.status >= 500):
                ended = service.breaker.failed
            elif result.status:
                ended = service.breaker.succeeded
        finally:
            ended(began)
        if result.retry_after_ms and result.status in (429, 503):
            service.quiet_until = self._clock() + result.retry_after_ms / 1_000
        return result

    def _service(self, origin: Origin) -> PushService:
        service = self._services.get(origin)
        if service is None:
            service = self._services[origin] = PushService(self._app.name, origin, self._network, self._clock)
            if len(self._services) > _KEPT:
                self._services.popitem(last=False)[1].retire()
        self._services.move_to_end(origin)
        return service

    async def _send(self, service: PushService, target: Target, origin: Origin, push: Push) -> Result:
        result = await self._post(service, target, origin, push, push.content)
        if result.status == 413 and push.content is not None:
            result = await self._post(service, target, origin, push, None)
        if result.outcome is Outcome.MISCONFIGURED:
            self._vapid.forget(str(origin))
        return result

    async def _post(
        self, service: PushService, target: Target, origin: Origin, push: Push, content: bytes | None
    ) -> Result:
        body, encoded = b"", {}
        if target.p256dh and target.auth:
            try:
                body = sealing.seal(payload(push, content), target.p256dh, target.auth)
            except sealing.CannotSeal:
                return Result(Outcome.REFUSED, "Keys")
            encoded = {"content-encoding": "aes128gcm", "content-type": "application/octet-stream"}
        headers = {
            "ttl": str(min(max(0, push.ttl_s), LONGEST_TTL)),
            "urgency": _URGENCIES[push.urgency],
            "topic": push.collapse,
            "authorization": self._vapid.authorization(str(origin)),
            "content-length": str(len(body)),
            **encoded,
        }
        parts = urlsplit(target.token)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            answer = await service.post(path, headers, body, first=push.urgency is Urgency.CALL)
        except NotPublic:
            return Result(Outcome.REFUSED, "NotPublic")
        except (Unsent, Lost) as error:
            return Result(Outcome.LATER, str(error))
        retry_after = retry_after_ms(answer.headers.get("retry-after"), now_ms())
        return answered(answer.status, answer.body[:LARGEST_ANSWER], retry_after)


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
