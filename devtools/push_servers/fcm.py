"""Google as far as FCM needs it: the token endpoint of OAuth 2.0 and ``messages:send`` of FCM HTTP v1, on one TLS port.

It checks what Google checks: the assertion's signature and claims, the bearer, the shape of a message (what is not known is
refused by name), sizes, lifetimes. Answers are those of Google's documentation.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.push_servers.h2_server import STREAMS, H2Server, Request

PROJECT: Final = "chat-under-test"
_EMAIL: Final = f"push@{PROJECT}.iam.gserviceaccount.com"
_SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"

#: The fields of a message that this server knows, with what they hold.
_SHAPE: Final[dict[str, Any]] = {
    "token": str,
    "data": dict,
    "android": {
        "priority": str,
        "ttl": str,
        "collapse_key": str,
        "restricted_package_name": str,
        "data": dict,
    },
    "webpush": {"headers": dict, "data": dict},
    "fcm_options": {"analytics_label": str},
}


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


class Cut(NamedTuple):
    """Instead of an answer the connection ends."""


class GoAway(NamedTuple):
    """An answer behind a GOAWAY that still promises it."""

    reply: Reply


class Sent(NamedTuple):
    """One message that was taken."""

    token: str
    data: dict[str, str]
    android: dict[str, str]
    web: dict[str, str]


Answer = Callable[[Sent], Awaitable[Reply | Cut | GoAway | None]]


class Google:
    """``sent``: what was accepted; ``asked``: all sends that came with a good bearer. ``answer``: a test's own answer to a send,
    None: as Google would. ``token_answer``: the same for the token endpoint. ``life_s``: of the tokens given out.
    ``account_key``: of the service account, None: a new one."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        streams: int = STREAMS,
        *,
        account_key: rsa.RSAPrivateKey | None = None,
    ) -> None:
        self.server = H2Server(self._begin, certificate, key, streams)
        self._key = account_key or rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key_id = hashlib.sha256(public).hexdigest()[:40]
        self._numbers = itertools.count(1)
        self._answering: set[asyncio.Task[None]] = set()
        self.tokens: set[str] = set()  # that are valid
        self.given = 0  # tokens so far
        self.life_s = 3_600
        self.sent: list[Sent] = []
        self.asked: list[Sent] = []
        self.dead: set[str] = set()  # registration tokens of apps that were removed
        self.answer: Answer | None = None
        self.token_answer: Callable[[], Awaitable[Reply | Cut | GoAway | None]] | None = None

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._answering:
            task.cancel()
        await self.server.stop()

    @property
    def url(self) -> str:
        return self.server.url

    def credentials(self, **other: Any) -> str:
        """The JSON of a service account; ``other`` fields instead of its own."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fields = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": self._key_id,
            "private_key": key.decode(),
            "client_email": _EMAIL,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(fields | other)

    def _begin(self, request: Request) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, request: Request) -> None:
        reply = await self._handle(request)
        if isinstance(reply, Cut):
            request.connection.transport.abort()
            return
        if isinstance(reply, GoAway):
            request.connection.goaway(request.stream)
            reply = reply.reply
        request.answer(reply.status, reply.headers, reply.body)

    async def _handle(self, request: Request) -> Reply | Cut | GoAway:
        if request.method != "POST":
            return Reply(405)
        if request.path == "/token":
            own = await self.token_answer() if self.token_answer else None
            return self._give_token(request) if own is None else own
        return await self._send(request)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def _give_token(self, request: Request) -> Reply:
        form = parse_qs(bytes(request.body).decode(), strict_parsing=True)
        if form.get("grant_type") != [_GRANT]:
            return _refused("unsupported_grant_type", "Invalid grant_type: ")
        try:
            claims = jwt.decode(
                form["assertion"][0], self._key.public_key(), ["RS256"], audience=f"{self.url}/token", issuer=_EMAIL,
                options={"require": ["iss", "aud", "iat", "exp", "scope"]},
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            return _refused("invalid_grant", "Invalid JWT Signature.")
        except jwt.PyJWTError as error:
            return _refused("invalid_grant", f"Invalid JWT: {error}")
        if jwt.get_unverified_header(form["assertion"][0]).get("kid") != self._key_id:
            return _refused("invalid_grant", "Invalid JWT: unknown kid")
        if claims["exp"] - claims["iat"] > 3_600 or abs(claims["iat"] - time.time()) > 300:
            return _refused("invalid_grant", "Invalid JWT: Token must be a short-lived token")
        if claims["scope"] != _SCOPE:
            return _refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        self.given += 1
        token = f"ya29.{uuid.uuid4().hex}"
        self.tokens.add(token)
        return _json(200, {"access_token": token, "expires_in": self.life_s, "token_type": "Bearer"})

    # -- messages ------------------------------------------------------------------------------------------------------

    async def _send(self, request: Request) -> Reply | Cut | GoAway:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or bearer not in self.tokens:
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if request.path != f"/v1/projects/{PROJECT}/messages:send":
            return error(404, "NOT_FOUND", "Requested entity was not found.")
        if not request.headers.get("content-type", "").startswith("application/json"):
            return error(400, "INVALID_ARGUMENT", "Invalid content type.")
        try:
            body = json.loads(bytes(request.body))
        except ValueError:
            return error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
        if wrong := _wrong(body):
            field, description = wrong
            return error(400, "INVALID_ARGUMENT", description, violations=[field])
        message = body["message"]
        sent = Sent(
            message["token"],
            message.get("data", {}),
            message.get("android", {}),
            message.get("webpush", {}).get("headers", {}),
        )
        self.asked.append(sent)
        own = await self.answer(sent) if self.answer else None
        if own is None and sent.token in self.dead:
            own = unregistered()
        if own is not None:
            if isinstance(own, GoAway) and own.reply.status == 200:
                self.sent.append(sent)
            return own
        return self.accept(sent)

    def accept(self, sent: Sent) -> Reply:
        self.sent.append(sent)
        return _json(200, {"name": f"projects/{PROJECT}/messages/0:{next(self._numbers)}"})


def error(
    status: int,
    word: str,
    message: str,
    *,
    code: str = "",
    violations: list[str] | None = None,
    quota: str = "",
    retry_after: str = "",
) -> Reply:
    """An error of Google. ``code``: FCM's own; ``violations``: fields that were wrong; ``quota``: the description of the one that
    was exceeded."""
    details: list[dict[str, Any]] = []
    if code:
        details.append({"@type": _FCM_ERROR, "errorCode": code})
    if violations:
        wrong = [{"field": field, "description": message} for field in violations]
        details.append({"@type": _BAD_REQUEST, "fieldViolations": wrong})
    if quota:
        details.append({"@type": _QUOTA_FAILURE, "violations": [{"subject": "", "description": quota}]})
    body: dict[str, Any] = {"code": status, "message": message, "status": word}
    if details:
        body["details"] = details
    return _json(status, {"error": body}, {"retry-after": retry_after} if retry_after else {})


def unregistered() -> Reply:
    return error(404, "NOT_FOUND", "Requested entity was not found.", code="UNREGISTERED")


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    return Reply(
        status,
        json.dumps(body).encode(),
        {"content-type": "application/json; charset=UTF-8", **(headers or {})},
    )


def _refused(word: str, description: str) -> Reply:
    return _json(400, {"error": word, "error_description": description})


def _wrong(body: Any) -> tuple[str, str] | None:
    """The field that is wrong, and what Google says of it."""
    if (
        not isinstance(body, dict)
        or set(body) - {"message", "validate_only"}
        or not isinstance(body.get("message"), dict)
    ):
        return "", "Invalid JSON payload received."
    message = body["message"]
    if found := _misshapen(message, _SHAPE, "message"):
        return found
    if not message.get("token"):
        return "message", "Exactly one of token, topic or condition is required"
    size = 0
    for key, value in message.get("data", {}).items():
        if not isinstance(value, str):
            return f"message.data[{key}]", "Invalid value (TYPE_STRING)"
        if key in ("from", "message_type") or key.startswith(("google", "gcm")):
            return "message.data", f"Invalid data payload key: {key}"
        size += len(key.encode()) + len(value.encode())
    if size > 4_096:
        return "message", "Message is too big."
    android = message.get("android", {})
    if android.get("priority", "HIGH") not in ("HIGH", "NORMAL"):
        return "message.android.priority", "Invalid value (priority)"
    ttl = re.fullmatch(r"(\d+)(\.\d{1,9})?s", android.get("ttl", "0s"))
    if not ttl or int(ttl[1]) > 2_419_200:
        return "message.android.ttl", "Invalid value (ttl)"
    web = message.get("webpush", {}).get("headers", {})
    if not all(isinstance(value, str) for value in web.values()):
        return "message.webpush.headers", "Invalid value (TYPE_STRING)"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", web.get("Topic", "a")):
        return "message.webpush.headers", "Invalid topic"
    if web.get("Urgency", "normal") not in ("very-low", "low", "normal", "high"):
        return "message.webpush.headers", "Invalid urgency"
    return None


def _misshapen(found: dict[str, Any], shape: dict[str, Any], path: str) -> tuple[str, str] | None:
    for name, value in found.items():
        if name not in shape:
            return (
                path,
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.",
            )
        expected = shape[name]
        if not isinstance(value, dict if isinstance(expected, dict) else expected):
            return f"{path}.{name}", f"Invalid value at '{path}.{name}'"
        if isinstance(expected, dict) and (inner := _misshapen(value, expected, f"{path}.{name}")):
            return inner
    return None


async def never() -> Reply:
    """No answer at all, until the connection ends."""
    await asyncio.Event().wait()
    raise AssertionError
