"""Apple's push service as its documentation describes it: what it checks, what it answers, what a device would show.

"Sending notification requests to APNs", "Handling notification responses from APNs", "Establishing a token-based connection to
APNs" (developer.apple.com, User Notifications).
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from devtools.push_servers.h2_server import STREAMS, H2Server, Request

#: Bytes of a payload.
LARGEST, LARGEST_VOIP = 4096, 5120
_TOKEN_AGE_S = 3_600
_PATH = re.compile(r"/3/device/([0-9a-fA-F]{2,200})")
_STATUS = {
    "BadDeviceToken": 400, "BadCollapseId": 400, "BadExpirationDate": 400, "BadMessageId": 400, "BadPriority": 400,
    "BadTopic": 400, "DeviceTokenNotForTopic": 400, "InvalidPushType": 400, "MissingDeviceToken": 400,
    "MissingTopic": 400, "PayloadEmpty": 400, "ExpiredProviderToken": 403, "InvalidProviderToken": 403,
    "MissingProviderToken": 403, "BadPath": 404, "MethodNotAllowed": 405, "PayloadTooLarge": 413,
}  # fmt: skip


class Shown(NamedTuple):
    """What stands on a device's screen, or what its app was woken with."""

    id: str
    type: str
    payload: dict[str, Any]


class Told(NamedTuple):
    """An answer that the responder was told to give."""

    status: int
    reason: str = ""
    headers: dict[str, str] = {}
    timestamp: int | None = None  # of a 410, ms


class Apns:
    """``tokens``: who may be reached, None: everybody. ``answers``: an answer for the next request each, before any check;
    ``hold``: called with a request that was accepted, instead of answering it."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        keys: dict[str, tuple[str, str]],
        topics: set[str],
        streams: int = STREAMS,
    ) -> None:
        self.server = H2Server(self._handle, certificate, key, streams)
        self.keys = keys  # by key id: (team, public key PEM)
        self.topics = topics
        self.tokens: set[str] | None = None
        self.answers: list[Told] = []
        self.hold: Callable[[Request], None] | None = None
        self.now_s: Callable[[], float] = time.time
        self.received = 0
        self.requests: list[Request] = []  # the last ones, whether accepted or not
        self.accepted = 0
        self.provider_tokens: Counter[str] = Counter()
        #: By device token and collapse id (without one: the notification's id): a newer one takes the place of an older one.
        self.shown: dict[tuple[str, str], Shown] = {}

    def _handle(self, request: Request) -> None:
        self.received += 1
        self.requests = [*self.requests[-9:], request]
        self.provider_tokens[request.headers.get("authorization", "")] += 1
        unique = request.headers.get("apns-id") or str(uuid.uuid4())
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            reason = self._wrong(request)
            answer = Told(_STATUS[reason], reason) if reason else Told(200)
        if answer.status == 200:
            self._show(request, unique)
            if self.hold is not None:
                self.hold(request)
                return
        body: dict[str, Any] = {"reason": answer.reason}
        if answer.timestamp is not None:
            body["timestamp"] = answer.timestamp
        request.answer(
            answer.status,
            {"apns-id": unique, **answer.headers},
            b"" if answer.status == 200 else json.dumps(body).encode(),
        )

    def _show(self, request: Request, unique: str) -> None:
        self.accepted += 1
        token = request.path.rpartition("/")[2]
        kind = request.headers["apns-push-type"]
        key = token, request.headers.get("apns-collapse-id", unique)
        self.shown[key] = Shown(unique, kind, json.loads(bytes(request.body)))

    def _wrong(self, request: Request) -> str:
        """A reason of Apple's, "" when nothing is wrong."""
        if request.method != "POST":
            return "MethodNotAllowed"
        path = _PATH.fullmatch(request.path)
        if path is None:
            return "BadPath"
        return (
            self._wrong_provider_token(request.headers.get("authorization"))
            or self._wrong_headers(request.headers)
            or self._wrong_payload(request.headers, bytes(request.body))
            or ("" if self.tokens is None or path[1] in self.tokens else "BadDeviceToken")
        )

    def _wrong_provider_token(self, header: str | None) -> str:
        if header is None or not header.startswith("bearer "):
            return "MissingProviderToken"
        token = header.removeprefix("bearer ")
        try:
            head = jwt.get_unverified_header(token)
            team, public = self.keys[head["kid"]]
            claims = jwt.decode(
                token,
                public,
                algorithms=["ES256"],
                issuer=team,
                options={"require": ["iss", "iat"], "verify_iat": False},
            )
        except (jwt.InvalidTokenError, KeyError):
            return "InvalidProviderToken"
        age = self.now_s() - claims["iat"]
        return "ExpiredProviderToken" if abs(age) > _TOKEN_AGE_S else ""

    def _wrong_headers(self, headers: dict[str, str]) -> str:
        topic = headers.get("apns-topic")
        if topic is None:
            return "MissingTopic"
        if topic not in self.topics:
            return "BadTopic"
        kind = headers.get("apns-push-type")
        if kind not in ("alert", "background", "voip") or (kind == "voip") != topic.endswith(".voip"):
            return "InvalidPushType"
        priority = headers.get("apns-priority", "10")
        if priority not in ("10", "5", "1") or (kind == "background" and priority == "10"):
            return "BadPriority"
        if not headers.get("apns-expiration", "0").isdigit():
            return "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return "BadCollapseId"
        try:
            uuid.UUID(headers.get("apns-id", str(uuid.uuid4())))
        except ValueError:
            return "BadMessageId"
        return ""

    def _wrong_payload(self, headers: dict[str, str], body: bytes) -> str:
        if not body:
            return "PayloadEmpty"
        if len(body) > (LARGEST_VOIP if headers["apns-push-type"] == "voip" else LARGEST):
            return "PayloadTooLarge"
        aps = json.loads(body)["aps"]
        if headers["apns-push-type"] == "background" and aps != {"content-available": 1}:
            return "InvalidPushType"  # the real one accepts it and may not deliver it
        return ""
