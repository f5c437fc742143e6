"""A push service of browsers: what an application server posts to it (RFC 8030, 8291, 8292), checked, and what Firefox says to it
over a WebSocket (autopush: hello, register, notification, ack)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import jwt
import websockets
from cryptography.hazmat.primitives.asymmetric import ec

from devtools.push_servers import h1_server, h2_server

LARGEST: Final = 4_096
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_VAPID: Final = re.compile(r"vapid t=([\w-]+\.[\w-]+\.[\w-]+), ?k=([\w-]+)", re.ASCII)


@dataclass
class Message:
    """One that was accepted."""

    id: str
    headers: dict[str, str]
    body: bytes
    topic: str | None
    acknowledged: bool = False


@dataclass
class Subscription:
    channel: str
    key: str | None  # the only one whose pushes it takes
    browser: str | None = None
    waiting: list[Message] = field(default_factory=list)  # not acknowledged by the browser


@dataclass(frozen=True)
class Answer:
    """``status`` 0: the connection ends instead."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Request = h1_server.Request | h2_server.Request


class PushService:
    """``answers``: what the next posts get instead of what they deserve; ``behind``: may change an answer when all is done.
    ``posts``: all there were; ``accepted``: of these; ``silent``: nobody gets an answer."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.h2 = h2_server.H2Server(self._handle, certificate, key)
        self.h1 = h1_server.H1Server(self._handle, certificate, key)
        self.subscriptions: dict[str, Subscription] = {}
        self.browsers: dict[str, websockets.ServerConnection] = {}
        self.answers: deque[Answer] = deque()
        self.behind: Callable[[Answer], Answer] | None = None
        self.posts: list[Request] = []
        self.accepted: list[Message] = []
        self.silent = False
        self.websocket = ""  # where browsers connect
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.h2)
        await self._stack.enter_async_context(self.h1)
        listening = await self._stack.enter_async_context(websockets.serve(self._browser, "127.0.0.1", 0))
        self.websocket = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._stack.aclose()

    def subscribe(self, *, key: str | None = None, http1: bool = False) -> str:
        """The endpoint of a browser that is not there."""
        name = uuid.uuid4().hex
        self.subscriptions[name] = Subscription(channel="", key=key)
        return f"{(self.h1 if http1 else self.h2).url}/push/{name}"

    def waiting(self, endpoint: str) -> list[Message]:
        return self.subscriptions[endpoint.rpartition("/")[2]].waiting

    # what application servers post

    def _handle(self, request: Request) -> None:
        self.posts.append(request)
        if self.silent:
            return
        answer = self.answers.popleft() if self.answers else self._deserved(request)
        if self.behind is not None:
            answer = self.behind(answer)
        if answer.status:
            request.answer(answer.status, answer.headers, answer.body)
        elif isinstance(request, h1_server.Request):
            request.cut()
        else:
            request.connection.transport.abort()

    def _deserved(self, request: Request) -> Answer:
        headers = request.headers
        if wrong := _malformed(request):
            return Answer(400, wrong.encode())
        subscription = self.subscriptions.get(request.path.removeprefix("/push/"))
        if subscription is None:
            return Answer(410)
        origin = f"https://{headers.get(':authority') or headers['host']}"
        if (said := _unsigned(headers.get("authorization", ""), origin, subscription.key)) is not None:
            return said
        if len(request.body) > LARGEST:
            return Answer(413)
        message = Message(uuid.uuid4().hex, headers, bytes(request.body), headers.get("topic"))
        self.accepted.append(message)
        if message.topic:  # RFC 8030, 5.4
            subscription.waiting = [m for m in subscription.waiting if m.topic != message.topic]
        browser = self.browsers.get(subscription.browser or "")
        if browser is not None or headers["ttl"] != "0":
            subscription.waiting.append(message)
        if browser is not None:
            task = asyncio.get_running_loop().create_task(_notify(browser, subscription, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Answer(201, b"", {"location": f"{origin}/message/{message.id}"})

    # what a browser says

    async def _browser(self, socket: websockets.ServerConnection) -> None:
        name = uuid.uuid4().hex
        with suppress(websockets.ConnectionClosed):
            async for text in socket:
                name = await self._take(socket, name, json.loads(text))
        if self.browsers.get(name) is socket:
            del self.browsers[name]

    async def _take(self, socket: websockets.ServerConnection, name: str, said: dict[str, Any]) -> str:
        """``name``: of the browser; returns it, or the one that it says it has."""
        kind = said.get("messageType")
        if kind == "hello":
            name = said.get("uaid") or name
            self.browsers[name] = socket
            await _say(socket, messageType="hello", uaid=name, status=200, use_webpush=True, broadcasts={})
            for subscription in list(self.subscriptions.values()):
                if subscription.browser == name:
                    for message in list(subscription.waiting):
                        await _notify(socket, subscription, message)
        elif kind == "register":
            endpoint = self.subscribe(key=said.get("key") and said["key"].rstrip("="))
            subscription = self.subscriptions[endpoint.rpartition("/")[2]]
            subscription.channel, subscription.browser = said["channelID"], name
            await _say(
                socket, messageType="register", channelID=said["channelID"], status=200,
                pushEndpoint=endpoint,
            )  # fmt: skip
        elif kind == "unregister":
            gone = [k for k, v in self.subscriptions.items() if v.channel == said["channelID"]]
            for one in gone:
                del self.subscriptions[one]
            await _say(socket, messageType="unregister", channelID=said["channelID"], status=200)
        elif kind == "ack":
            done = {update["version"] for update in said["updates"]}
            for subscription in self.subscriptions.values():
                for message in subscription.waiting:
                    message.acknowledged = message.acknowledged or message.id in done
                subscription.waiting = [m for m in subscription.waiting if not m.acknowledged]
        elif not kind:
            await socket.send("{}")  # a ping
        return name


def _malformed(request: Request) -> str:
    """RFC 8030, sections 5.2 to 5.4, and RFC 8291, section 4."""
    headers = request.headers
    if request.method != "POST":
        return "method"
    if not re.fullmatch(r"[0-9]{1,10}", headers.get("ttl", "")):
        return "TTL"
    if headers.get("urgency", "normal") not in ("very-low", "low", "normal", "high"):
        return "Urgency"
    if "topic" in headers and not _TOPIC.fullmatch(headers["topic"]):
        return "Topic"
    if request.body and headers.get("content-encoding") != "aes128gcm":
        return "Content-Encoding"
    if request.body:
        record = int.from_bytes(request.body[16:20])
        if record <= 17 or request.body[20] != 65 or len(request.body) - 86 > record:
            return "more than one record, or no key"
    return ""


def _unsigned(authorization: str, origin: str, key: str | None) -> Answer | None:
    """RFC 8292, sections 2 to 4."""
    parts = _VAPID.fullmatch(authorization)
    if parts is None:
        return Answer(401, b"vapid")
    token, public = parts.groups()
    try:
        point = base64.urlsafe_b64decode(public + "=" * (-len(public) % 4))
        verifier = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        claims = jwt.decode(
            token, verifier, algorithms=["ES256"], audience=origin, options={"require": ["exp", "aud", "sub"]}
        )
    except (ValueError, jwt.InvalidTokenError) as error:
        return Answer(401, type(error).__name__.encode())
    if claims["exp"] > time.time() + 86_400 or not claims["sub"].startswith(("mailto:", "https:")):
        return Answer(401, b"claims")
    if key is not None and key != public:
        return Answer(403, b"another key made the subscription")
    return None


async def _notify(socket: websockets.ServerConnection, subscription: Subscription, message: Message) -> None:
    said: dict[str, Any] = {"channelID": subscription.channel, "version": message.id}
    if message.body:
        said["data"] = base64.urlsafe_b64encode(message.body).rstrip(b"=").decode()
        said["headers"] = {"encoding": "aes128gcm"}
    await _say(socket, messageType="notification", **said)


async def _say(socket: websockets.ServerConnection, **said: Any) -> None:
    with suppress(websockets.ConnectionClosed):
        await socket.send(json.dumps(said))
