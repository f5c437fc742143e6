"""Firebase Cloud Messaging, HTTP v1 (https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages): Android, and
browsers whose tokens are Firebase's.

Messages have data only: the app decides what it shows. There are no batches any more; many requests share one HTTP/2 connection.
FCM has no key against repetitions: a push that is sent again after a lost answer has the same ``id`` in its data, and the same
collapse key, so that it takes the place of the first one, or the app sees that it has shown it (docs/adr/0140).
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import quote

import certifi
from django.core.exceptions import ImproperlyConfigured

from notifications.sealing import seal
from notifications.senders.address import Address
from notifications.senders.fcm_answers import FcmAnswer
from notifications.senders.google_tokens import AccessTokens, ServiceAccount
from notifications.senders.http2 import Client, Lost, Times, Unsent
from notifications.senders.interface import Outcome, Push, PushApp, Result, Target, Urgency

log = logging.getLogger(__name__)

URL: Final = "https://fcm.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
#: Bytes of all keys and values of the data.
LARGEST: Final = 4_096
_LONGEST_TTL_S: Final = 2_419_200  # 4 weeks

_PRIORITY: Final = {Urgency.CALL: "HIGH", Urgency.MESSAGE: "HIGH", Urgency.SILENT: "NORMAL"}
#: RFC 8030, 5.3.
_WEB_URGENCY: Final = {Urgency.CALL: "high", Urgency.MESSAGE: "normal", Urgency.SILENT: "low"}


class FcmSender:
    provider = "fcm"

    def __init__(
        self,
        account: ServiceAccount,
        tls: ssl.SSLContext,
        url: str = URL,
        times: Times = Times(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tls`` offers ``h2``; ``now``: seconds. Raises ``ValueError`` for a ``url`` that is not https."""
        self._address = Address(
            f"{url.rstrip('/')}/v1/projects/{quote(account.project, safe='')}/messages:send"
        )
        self._client = Client(self._address.host, self._address.port, tls, times)
        self._tokens = AccessTokens(account, SCOPE, tls, times, now)
        self._proven = False  # FCM has accepted something with these credentials

    @classmethod
    def from_options(
        cls, app: PushApp, times: Times = Times(), now: Callable[[], float] = time.monotonic
    ) -> Self:
        """Options: ``credentials_file`` or ``credentials`` (the JSON of a service account), ``url`` and ``ca_file`` (another
        server than Google's). Raises ``ImproperlyConfigured``, which never shows a key."""
        try:
            return cls(_account(app), _tls(app), app.options.get("url") or URL, times, now)
        except ValueError as error:
            raise ImproperlyConfigured(f"push app {app.name}: {error}") from None

    async def send(self, target: Target, push: Push) -> Result:
        try:
            body = json.dumps({"message": message(target, push)}, separators=(",", ":")).encode()
            return await self._post(body, first=push.urgency is Urgency.CALL)
        except (Unsent, Lost) as error:
            return Result(Outcome.LATER, str(error), of_app=True)
        except Exception as error:
            log.error("A push by FCM failed: %s", type(error).__name__)
            return Result(Outcome.LATER, "other")

    async def close(self) -> None:
        await self._tokens.close()
        await self._client.close()

    async def _post(self, body: bytes, first: bool) -> Result:
        for last in (False, True):
            token = await self._tokens.get()
            if isinstance(token, Result):
                return token
            headers = self._address.post(
                {"authorization": f"Bearer {token}", "content-type": "application/json"}
            )
            answer = FcmAnswer(await self._client.post(headers, body, first=first))
            if last or not answer.token_expired:
                break
            self._tokens.rejected(token)
        result = answer.result(self._proven)
        self._proven |= result.outcome is Outcome.ACCEPTED
        return result


def message(target: Target, push: Push) -> dict[str, Any]:
    """What FCM calls a message. Its content goes along when it can be sealed and fits."""
    data = {"type": push.urgency.value, "id": push.id, "collapse": push.collapse}
    if push.badge is not None:
        data["badge"] = str(push.badge)
    if sealed := _sealed(target, push):
        with_content = {**data, "sealed": sealed}
        if sum(len(key) + len(value) for key, value in with_content.items()) <= LARGEST:
            data = with_content
    ttl_s = max(0, min(push.ttl_s, _LONGEST_TTL_S))
    return {
        "token": target.token,
        "data": data,
        "android": {
            "priority": _PRIORITY[push.urgency],
            "ttl": f"{ttl_s}s",
            "collapse_key": push.collapse,
        },
        "webpush": {
            "headers": {"TTL": str(ttl_s), "Urgency": _WEB_URGENCY[push.urgency], "Topic": push.collapse}
        },
    }


def _sealed(target: Target, push: Push) -> str | None:
    if push.content is None or target.p256dh is None or target.auth is None:
        return None
    try:
        sealed = seal(push.content, target.p256dh, target.auth)
    except ValueError:  # keys that are none, or too long
        return None
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _account(app: PushApp) -> ServiceAccount:
    if path := app.options.get("credentials_file"):
        return ServiceAccount.from_file(path)
    if text := app.options.get("credentials"):
        return ServiceAccount.read(text)
    raise ValueError("credentials_file or credentials is needed (docs/push.md).")


def _tls(app: PushApp) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cafile=app.options.get("ca_file") or certifi.where())
    except OSError as error:
        raise ValueError(f"its ca_file cannot be read ({type(error).__name__}).") from None
    tls.set_alpn_protocols(["h2"])
    return tls
