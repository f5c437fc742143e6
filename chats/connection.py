"""One socket from accept to close: opening it, the limits of what it may send, and the way of each frame to its handler.

Everything runs on the loop in the turn in which the bytes arrived; a handler that must wait starts a task.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from accounts import appeals
from accounts.errors import banned
from accounts.news import News
from accounts.opening import Opening
from accounts.tokens import Access, TokenError, read_access
from chats.gateway import Gateway
from chats.outbound import Outlet
from delivery.session import Session, State
from delivery.session_check import CLOSE_OF
from delivery.store.interface import Unavailable
from whatsapp.infra import clock, metrics
from whatsapp.infra.limits import LIMITS, Rate
from whatsapp.infra.logs import about
from whatsapp.wire import frames
from whatsapp.wire.errors import Close, Code, FrameError, error_frame
from whatsapp.wire.versions import Negotiated

log = logging.getLogger(__name__)

#: Frames that a client may send behind its ``auth`` without waiting for ``ready``.
EARLY_FRAMES = 64
#: How long past ``auth_ms`` the accounts may take for an ``auth`` that came in time.
IDENTIFY_S = 10.0


#: Ends that an operator may want to find in the logs.
_NOTABLE = frozenset(
    (
        Close.INTERNAL,
        Close.NOT_A_FRAME,
        Close.UNAUTHENTICATED,
        Close.FLOOD,
        Close.SLOW_CONSUMER,
    )
)
#: Codes of clients that go on purpose (RFC 6455, section 7.4.1). Who loses the network says nothing.
_BYE = frozenset((1000, 1001))
_numbers = itertools.count(1)

#: What does what a frame of a type asks for: ``(connection, session, frame) -> None``; it never waits.
Handlers = Mapping[type, Callable[[Any, Any, Any], None]]


class Connection:
    __slots__ = (
        "__weakref__",
        "_early",
        "_flood",
        "_frames",
        "_handlers",
        "_malformed",
        "_opening",
        "_rates",
        "_refused",
        "_tasks",
        "address",
        "codec",
        "gateway",
        "have_more",
        "lookups",
        "number",
        "outlet",
        "protocol",
        "proven",
        "session",
        "slot",
    )

    def __init__(
        self, gateway: Gateway, outlet: Outlet, spoken: Negotiated, address: str, handlers: Handlers
    ) -> None:
        self.gateway = gateway
        self._handlers = handlers
        self.outlet = outlet
        self.codec = spoken.codec
        self.protocol = spoken.version
        self.address = address
        self.session: Session | None = None
        self.number = next(_numbers)
        self.slot = id(self) >> 6  # its place in the ping wheel
        self.have_more: dict[str, int] | None = None  # ``have`` of a sync that is continued
        self._malformed = 0  # in a row
        self._refused = 0  # in a row
        self._flood = Rate()
        self._rates: dict[str, Rate] = {}
        self._opening: asyncio.TimerHandle | None = None
        self._early: list[Any] | None = None  # frames behind ``auth``
        self._frames = 0
        self._tasks: dict[asyncio.Task[None], str] = {}  # with the ref of the frame they answer
        self.lookups = (
            asyncio.Lock()
        )  # one at a time, so that one socket holds one connection to the store at most
        self.proven: dict[str, int] = {}  # seqs of which it is known that this device acknowledged them

    # opening

    def opened(self, token: str | None) -> None:
        """The socket was accepted; ``token`` is that of the ``Authorization`` header."""
        gateway = self.gateway
        gateway.connections.add(self)
        gateway.spoken[self.codec.name, self.protocol] += 1
        metrics.CONNECTED.add(self.codec.name, self.protocol)
        if token is None:
            gateway.owing[self] = None
            gateway.addresses[self.address] += 1
        if (refused := gateway.refused(self.address, token is None)) is not None:
            self.turn_away(*refused)
        else:
            loop = asyncio.get_running_loop()
            self._opening = loop.call_later(LIMITS.auth_ms / 1000, self._not_authenticated)
            if token is not None:
                self.authenticate(frames.Auth(token))

    def turn_away(self, after_ms: int, reason: str, code: int) -> None:
        self._owes_nothing()
        self.send(frames.Reconnect(after_ms, reason))
        self.close(code, reason)

    def _not_authenticated(self) -> None:
        if self.session is None and self._early is None:
            self.close(Close.TIMEOUT, "no auth")
        elif self.session is None:
            # It came in time: what is slow is on this side.
            self._opening = asyncio.get_running_loop().call_later(IDENTIFY_S, self._unavailable)

    def _unavailable(self, ref: str = "") -> None:
        after = self.gateway.waiting_for_accounts.after(clock.now_ms())
        self.error(Code.UNAVAILABLE, "accounts cannot be reached", ref, retry_after_ms=after)
        metrics.count("admissions", "unavailable")
        self.turn_away(after, "unavailable", Close.OVERLOADED)

    def authenticate(self, frame: frames.Auth) -> None:
        if self._early is not None or self.session is not None:
            self.error(Code.BAD_REQUEST, "this socket is authenticated already", frame.ref)
            return
        # Before there is a task: whoever is refused or told to come again costs the others as little as can be.
        try:
            access = read_access(frame.token)
        except TokenError as error:
            self._refuse(str(error), frame.ref)
            return
        if after := self.gateway.admission.enter(access.device_id, clock.now_ms()):
            self.turn_away(after, "busy", Close.OVERLOADED)
            return
        self._early = []
        self._owes_nothing()
        self.spawn(self._authenticate(access, frame), frame.ref)

    async def _authenticate(self, access: Access, frame: frames.Auth) -> None:
        gateway = self.gateway
        if await self._admitted(access, frame.ref) is None:
            return
        session = Session(access.user_id, access.device_id, self.codec, self.outlet, access.issued_at)
        self.outlet.on_resume = self._resumed
        self.session = session
        self._authenticated()
        rebuilt = await gateway.node.sessions.open(session)
        if session.state is State.CLOSED:
            return
        # What ended this device before its record was there was told to the processes in the records of then: not to this
        # one. What ends it from here on is.
        news = await self._admitted(access, frame.ref, news=True)
        if news is not None:
            self._ready(session, rebuilt, frame, news)

    async def _admitted(self, access: Access, ref: str, *, news: bool = False) -> News | None:
        """Ask the accounts. What the device is to be told, if that was asked as well. Whoever is not admitted is told why and
        closed: None."""
        gateway = self.gateway
        ban: tuple[int | None, str] = (None, "")
        asked_at = asyncio.get_running_loop().time()
        try:
            asked = Opening(access.user_id, access.device_id, access.issued_at, news)
            verdict, told, limits = await gateway.opening.ask(asked)
            if verdict == "banned":
                ban = await gateway.ban_of(access.user_id, access.device_id)
        except Unavailable:
            self._unavailable(ref)
            return None
        if self.outlet.closed or (self.session is not None and self.session.state is State.CLOSED):
            return None
        if verdict == "ok":
            if self.session is not None:
                gateway.own_limits.apply(self.session, limits, asked_at)
            return told
        if verdict == "banned":
            refused = banned(ban[0], appeals.url(ban[1]))
            self.error(refused.code, refused.message, ref, details=refused.details)
        else:
            self.error(Code.UNAUTHENTICATED, f"this device is {verdict}", ref)
        self.close(CLOSE_OF[verdict], verdict)
        if verdict == "unlinked" and self.session is not None:
            await gateway.node.sessions.forget(access.user_id, access.device_id)  # its registration made keys
        return None

    def _ready(self, session: Session, rebuilt: bool, frame: frames.Auth, news: News) -> None:
        session.state = State.READY
        session.send(
            frames.Ready(
                user_id=session.user,
                device_id=session.device,
                protocol=self.protocol,
                server_time=clock.now_ms(),
                epoch=session.epoch,
                sync_required=rebuilt,
                pending=session.pending,
                ping_ms=LIMITS.ping_ms,
                limits=frames.Limits(
                    LIMITS.frame_bytes, LIMITS.content_bytes, session.limits.messages_per_minute
                ),
                ref=frame.ref,
            )
        )
        metrics.count("sessions", "opened")
        self.gateway.last_seen.add(session.device)
        self.gateway.newsboy.tell(session, news)
        early, self._early = self._early, None
        if frame.resume is not None and frame.resume.have is not None:
            self.gateway.node.sync.start(session, frame.resume.have, 100, 0)
        for waiting in early or ():
            self._handle(waiting)

    def _refuse(self, message: str, ref: str) -> None:
        self.error(Code.UNAUTHENTICATED, message, ref)
        self.close(Close.UNAUTHENTICATED, "unauthenticated")

    def _authenticated(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _owes_nothing(self) -> None:
        """Its token came, or it is gone. Idempotent."""
        if self not in self.gateway.owing:
            return
        del self.gateway.owing[self]
        addresses = self.gateway.addresses
        addresses[self.address] -= 1
        if addresses[self.address] <= 0:
            del addresses[self.address]

    # frames

    def on_frame(self, data: bytes, text: bool) -> None:
        """A whole message arrived."""
        if over := self._over():
            self._flooded(over)
            return
        try:
            if text is not self.codec.text:
                kind = "text" if self.codec.text else "binary"
                raise FrameError(Code.BAD_REQUEST, f"this protocol uses {kind} frames", malformed=True)
            frame = self.codec.decode(data)
        except FrameError as error:
            self._bad(error)
            return
        self._malformed = self._refused = 0
        session = self.session
        if session is not None and session.state is not State.OPENING:
            self._handle(frame)
        elif type(frame) is frames.Auth:
            self.authenticate(frame)
        elif self._early is None:
            self.error(Code.UNAUTHENTICATED, "authenticate first", frame.ref)
        elif len(self._early) < EARLY_FRAMES:
            self._early.append(frame)
        else:
            self.error(Code.RATE_LIMITED, "wait for ready", frame.ref, retry_after_ms=1_000)

    def on_control(self) -> bool:
        """A ping or pong arrived; it counts as a frame. False if it is one too many."""
        if over := self._over():
            self._flooded(over)
        return not over

    def _over(self) -> float:
        """Take one frame: 0, or ms until one more is allowed."""
        limits = LIMITS if self.session is None else self.session.limits
        return self._flood.take(asyncio.get_running_loop().time() * 1000, limits.frames_per_second, 1_000)

    def _handle(self, frame: Any) -> None:
        session = self.session
        if session is None or session.state is State.CLOSED:
            return
        try:
            self._handlers[type(frame)](self, session, frame)
        except Exception:
            log.exception("the handler of %s failed", type(frame).__name__, extra=self.about())
            self.error(Code.INTERNAL, "something went wrong here", frame.ref)

    def _bad(self, error: FrameError) -> None:
        metrics.error(error.code)
        self.send(error.frame())
        if error.malformed:
            self._malformed += 1
            if self._malformed >= LIMITS.malformed_in_a_row:
                self.close(Close.NOT_A_FRAME, "not a frame")
        else:
            self._malformed = 0

    def _flooded(self, over_ms: float) -> None:
        self._refused += 1
        if self._refused > LIMITS.flood_warnings:
            self.close(Close.FLOOD, "flood")
        else:
            self.error(Code.RATE_LIMITED, "too many frames", retry_after_ms=max(1, round(over_ms)))

    def allowed(self, what: str, per_minute: int, ref: str) -> bool:
        """Take one of a rate of this socket; tells the client when it is over."""
        rate = self._rates.get(what)
        if rate is None:
            rate = self._rates[what] = Rate()
        over = rate.take(asyncio.get_running_loop().time() * 1000, per_minute, 60_000)
        if over:
            self.error(Code.RATE_LIMITED, f"too many {what} frames", ref, retry_after_ms=max(1, round(over)))
        return not over

    # answers

    def send(self, frame: Any) -> None:
        data = self.codec.encode(frame)
        if data:
            self.outlet.write(data)

    def error(
        self,
        code: str,
        message: str,
        ref: str = "",
        *,
        message_id: str | None = None,
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        metrics.error(code)
        self.send(
            error_frame(
                code, message, ref=ref, message_id=message_id, retry_after_ms=retry_after_ms, details=details
            )
        )

    def spawn(self, work: Coroutine[Any, Any, None], ref: str = "") -> None:
        """Run what must wait; its failure is answered with ``ref``, never fatal."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = ref
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        ref = self._tasks.pop(task, "")
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        if isinstance(error, Unavailable):
            self.error(Code.UNAVAILABLE, "the store cannot be reached", ref, retry_after_ms=1_000)
        else:
            log.error("a task of a connection failed", exc_info=error, extra=self.about())
            self.error(Code.INTERNAL, "something went wrong here", ref)
            if self.session is None or self.session.state is State.OPENING:
                self.close(Close.INTERNAL, "internal")

    # the gateway's wheel

    def ping(self) -> None:
        if not self.outlet.ping():
            self.close(Close.TIMEOUT, "no pong")

    def check_slow(self, now: float) -> None:
        if self.outlet.paused and now - self.outlet.paused_at > LIMITS.slow_consumer_ms / 1000:
            self.close(Close.SLOW_CONSUMER, "slow consumer")

    def tell_reconnect(self, after_ms: int, reason: str) -> None:
        self.send(frames.Reconnect(after_ms, reason))

    def _resumed(self) -> None:
        if self.session is not None and self.session.state is State.LIVE:
            self.gateway.node.live.resume(self.session)

    # ending

    def about(self) -> dict[str, object]:
        """Which connection a log line is about."""
        session = self.session
        return about(
            connection=f"{self.gateway.name}/{self.number}",
            address=self.address,
            user=session and session.user,
            device=session and session.device,
        )

    def close(self, code: int, reason: str) -> None:
        if code in _NOTABLE and not self.outlet.closed:
            log.info("a socket is closed", extra={**self.about(), "code": int(code), "reason": reason})
        self.outlet.close(code, reason)
        if self.session is not None:
            self.gateway.node.sessions.closed(self.session)

    def ended(self, code: int) -> None:
        """The socket is gone, whoever ended it. Idempotent."""
        bye = code in _BYE
        if self in self.gateway.connections:
            self.gateway.connections.discard(self)
            self.gateway.spoken[self.codec.name, self.protocol] -= 1
            self._owes_nothing()
            self._authenticated()
            if self.session is not None and self._early is None:  # it was admitted
                self.gateway.last_seen.add(self.session.device)
        for task in self._tasks:
            task.cancel()
        if self.session is not None:
            self.gateway.node.sessions.closed(self.session, bye)
