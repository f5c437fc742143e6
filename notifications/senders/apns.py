"""Apple's push service (APNs): one app in one environment, over one HTTP/2 connection.

Apple, "Sending notification requests to APNs" and "Generating a remote notification".
"""

from __future__ import annotations

import base64
import json
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, cast
from urllib.parse import urlsplit

import certifi
from django.core.exceptions import ImproperlyConfigured
from hpack import NeverIndexedHeaderTuple

from notifications.sealing import seal
from notifications.senders import apns_answers
from notifications.senders.apns_token import ProviderToken
from notifications.senders.http2 import Client, Headers, Lost, Times, Unsent
from notifications.senders.interface import Outcome, Push, PushApp, Result, Target, Urgency
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

_URLS: Final = {
    "production": "https://api.push.apple.com",
    "sandbox": "https://api.sandbox.push.apple.com",
}
#: Bytes of a payload.
LARGEST: Final = 4_096
LARGEST_VOIP: Final = 5_120
_TOKEN: Final = re.compile(r"[0-9a-fA-F]{2,200}")


class ApnsSender:
    provider = "apns"

    def __init__(
        self,
        client: Client,
        authority: str,
        token: ProviderToken,
        topic: str,
        voip_topic: str | None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._client, self._authority, self._token = client, authority, token
        self._topic, self._voip_topic = topic, voip_topic
        self._clock = clock
        self._proven: set[str] = set()  # topics that a push was accepted with

    @classmethod
    def from_options(cls, app: PushApp, times: Times = Times(), clock: Callable[[], int] = now_ms) -> Self:
        """Raises ``ImproperlyConfigured``, which names the variable and never a key."""
        options = app.options
        missing = [n for n in ("key_id", "team_id", "topic") if not options.get(n)]
        if missing:
            raise ImproperlyConfigured(f"push app {app.name}: {', '.join(missing)} missing")
        url = options.get("url") or _URLS.get(options.get("environment", "production"), "")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 443
            token = ProviderToken(_key(options), options["key_id"], options["team_id"], clock)
            tls = ssl.create_default_context(cafile=options.get("ca_file") or certifi.where())
        except (OSError, ValueError, TypeError) as error:  # ssl.SSLError is an OSError
            raise ImproperlyConfigured(
                f"push app {app.name}: key, key_file, ca_file or url cannot be read"
            ) from error
        if parts.scheme != "https" or not host:
            raise ImproperlyConfigured(
                f"push app {app.name}: environment is production or sandbox, url is https"
            )
        tls.set_alpn_protocols(["h2"])
        client = Client(host, port, tls, times)
        return cls(client, parts.netloc, token, options["topic"], options.get("voip_topic"), clock)

    async def send(self, target: Target, push: Push) -> Result:
        """One request, and a second one only after three answers: the provider token is too old (with a new one), the payload
        too large (without the content), the token for calls dead (an alert to the other token)."""
        try:
            if push.urgency is Urgency.CALL and self._voip_topic and target.call_token:
                message = _Message("voip", self._voip_topic, target.call_token, LARGEST_VOIP)
                result = await self._send(message, target, push)
                if result.outcome not in (Outcome.GONE, Outcome.REFUSED):
                    return result
            kind = "background" if push.urgency is Urgency.SILENT and push.badge is None else "alert"
            return await self._send(_Message(kind, self._topic, target.token, LARGEST), target, push)
        except (Unsent, Lost) as error:
            # What was lost may have been accepted. Sent again it has the same apns-id and apns-collapse-id.
            return Result(Outcome.LATER, str(error), of_app=True)
        except Exception as error:
            log.error("A push by APNs failed: %s", type(error).__name__)
            return Result(Outcome.LATER, "other")

    async def close(self) -> None:
        await self._client.close()

    async def _send(self, message: _Message, target: Target, push: Push) -> Result:
        if not _TOKEN.fullmatch(message.token):
            return Result(Outcome.GONE, "BadDeviceToken")
        bare = _payload(message.kind, push)
        whole = _with_content(bare, target, push, message.largest)
        reply = await self._post(message, push, whole)
        if reply.reason == apns_answers.PAYLOAD_TOO_LARGE and whole != bare:
            reply = await self._post(message, push, bare)
        if not reply.reason:
            self._proven.add(message.topic)
        return apns_answers.result(
            reply, set_at=target.set_at, proven=message.topic in self._proven, now_ms=self._clock()
        )

    async def _post(self, message: _Message, push: Push, payload: dict[str, Any]) -> apns_answers.Reply:
        body = _encoded(payload)
        first = push.urgency is Urgency.CALL
        token = self._token.current()
        reply = apns_answers.read(
            await self._client.post(self._headers(message, push, token), body, first=first)
        )
        if reply.reason == apns_answers.EXPIRED_PROVIDER and self._token.renew(token):
            headers = self._headers(message, push, self._token.current())
            reply = apns_answers.read(await self._client.post(headers, body, first=first))
        if reply.reason in apns_answers.CONNECTION_ENDS:
            self._client.retire()
        return reply

    def _headers(self, message: _Message, push: Push, token: str) -> Headers:
        """What differs from push to push stays out of the compression's table, as Apple asks: it would push out the rest."""
        expires = 0 if push.urgency is Urgency.CALL else self._clock() // 1_000 + push.ttl_s
        return [
            (":method", "POST"),
            (":scheme", "https"),
            _unindexed(":path", f"/3/device/{message.token}"),
            (":authority", self._authority),
            _unindexed("authorization", f"bearer {token}"),
            ("apns-topic", message.topic),
            ("apns-push-type", message.kind),
            ("apns-priority", "5" if push.urgency is Urgency.SILENT else "10"),
            _unindexed("apns-expiration", str(expires)),
            _unindexed("apns-id", push.id),
            _unindexed("apns-collapse-id", push.collapse),
        ]


class _Message(NamedTuple):
    kind: str  # apns-push-type
    topic: str
    token: str  # of the device
    largest: int  # bytes of its payload


def _key(options: Mapping[str, str]) -> str:
    """Raises ``OSError``. In a variable, line ends may stand as the two characters ``\\n``."""
    if text := options.get("key"):
        return text.replace("\\n", "\n")
    return Path(options.get("key_file", "")).read_text()


def _unindexed(name: str, value: str) -> tuple[str, str]:
    return cast(tuple[str, str], NeverIndexedHeaderTuple(name, value))


def _payload(kind: str, push: Push) -> dict[str, Any]:
    """What Apple reads: that there is something new, and the badge."""
    aps: dict[str, Any] = {}
    if push.urgency is Urgency.SILENT:
        # A badge alone is shown without a sound. It goes as "alert": of "background" Apple wants nothing that is seen.
        aps["content-available"] = 1
    elif kind == "alert":
        call = push.urgency is Urgency.CALL
        aps |= {
            "alert": {"loc-key": "INCOMING_CALL" if call else "NEW_MESSAGE"},
            "sound": "default",
            "thread-id": push.collapse,
            "mutable-content": 1,  # the app's extension decrypts before it is shown
        }
    if push.badge is not None and kind == "alert":
        aps["badge"] = push.badge
    return {"aps": aps}


def _with_content(bare: dict[str, Any], target: Target, push: Push, largest: int) -> dict[str, Any]:
    """With the content, if the device has keys and it fits."""
    if push.content is None or target.p256dh is None or target.auth is None:
        return bare
    try:
        sealed = seal(push.content, target.p256dh, target.auth)
    except ValueError:  # keys that are none
        return bare
    whole = {**bare, "sealed": base64.urlsafe_b64encode(sealed).decode().rstrip("=")}
    return whole if len(_encoded(whole)) <= largest else bare


def _encoded(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()
