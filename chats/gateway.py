"""The gateway of this process: the engine with its ports bound, the open connections, limits that span them, pings.

Made on the loop that serves the sockets, at the first connection or by ``whatsapp.serve`` before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import resource
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast, get_args

import psycopg
from django.conf import settings
from psycopg_pool import PoolTimeout

from accounts import appeals
from accounts import sessions as account_sessions
from accounts.abuse.counter import Counter as AbuseCounter
from accounts.envelope_devices import envelope_devices_async
from accounts.errors import banned
from accounts.last_seen import LastSeen
from accounts.opening import Answer, Opening, ask
from accounts.sessions import Standing
from accounts.visibility import Pair, readers_async, reads_shown_async, visible_async
from chats import gauges
from chats.admission import Admission, Rates, Slots, most_connections, step_ms
from chats.news import Newsboy
from chats.own_limits import OwnLimits
from delivery import tasks
from delivery.node import Node
from delivery.ports import NOTHING, Attached, Reads, Shown
from delivery.session import Session, State
from delivery.session_check import CLOSE_OF
from delivery.store import chosen
from delivery.store.interface import Unavailable
from delivery.store.libpq import Channel
from delivery.store.log_store import LogStore
from delivery.store.pending import Elsewhere
from media import attaching
from notifications import binding
from whatsapp.infra import clock, metrics
from whatsapp.infra.batcher import AskBatcher
from whatsapp.infra.bus import LIMIT_CLASS
from whatsapp.infra.layer import LAYER
from whatsapp.infra.limits import LIMITS, Rate
from whatsapp.infra.postgres import open_pool
from whatsapp.infra.spacing import spacing
from whatsapp.wire import frames
from whatsapp.wire.errors import Close, error_frame

log = logging.getLogger(__name__)

#: How long SIGTERM gives clients to leave by themselves at most, and the slots they are told.
RECONNECT_SPREAD_MS = 5_000
SETTLE_S = 10.0
MAX_RATES = 10_000


class Peer(Protocol):
    """What the gateway does with a connection that has come (:class:`chats.connection.Connection`)."""

    address: str
    slot: int  # its place in the ping wheel

    def turn_away(self, after_ms: int, reason: str, code: int) -> None: ...

    def ping(self) -> None: ...

    def check_slow(self, now: float) -> None: ...

    def tell_reconnect(self, after_ms: int, reason: str) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


#: Processes of the next version say more, which no frame of ours can hold.
_NOTICES: Final = frozenset(get_args(frames.NoticeKind))


class Gateway:
    """One per process and loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = str(uuid.uuid4())  # this incarnation
        self.connections: set[Peer] = set()
        self.spoken: Counter[tuple[str, str]] = Counter()  # open connections by codec and version
        self.owing: dict[Peer, None] = {}  # those that have not sent a good token, the first one first
        self.addresses: Counter[str] = Counter()  # of those
        self.draining = False
        self.most_connections = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.admission = Admission()
        self.waiting_for_room = Slots(least_ms=5_000)
        self._strangers = Rates()  # addresses that took such a slot
        self.waiting_for_accounts = Slots(least_ms=2_000)
        self.rates: dict[str, Rate] = {}  # messages, by user
        self.pool = open_pool(settings.DATABASE_URL)
        self._log = LogStore(self.pool)
        self.store = self._log.store
        self.node = Node(
            process=self.process,
            store=self.store,
            hot_url=settings.HOT_URL,
            identify=self._judge,
            shows=self._shows,
            reads_of=self._reads_of,
            reads_shown=self._reads_shown,
            envelope_devices=self._envelope_devices,
            attach=self._attach,
            detach=self._detach,
            # A broker that is away only means that the gateway reads by itself, and that workers look for lanes.
            submit_drain=tasks.submit_drain_soon,
            submit_lane=tasks.submit_lane_soon,
        )
        binding.bind_gateway(self.node, self.pool)
        self.node.bus.subscribe(LAYER, self.on_layer)
        self.own_limits = OwnLimits(self.pool, self.node.hub)
        self.node.bus.subscribe(LIMIT_CLASS, self.own_limits.class_changed)
        self._accounts = Channel(self.pool)
        #: Answers :class:`accounts.opening.Answer`, raises ``Unavailable``.
        self.opening: AskBatcher[Opening] = AskBatcher(self._ask, spacing=spacing(LIMITS.opening_spacing_ms))
        self.newsboy = Newsboy(self.pool)
        self.abuse = AbuseCounter(self.node.bus.hot) if settings.ABUSE else None
        if self.abuse is not None:
            self.node.log.noted = self.abuse.noted
        self.last_seen = LastSeen(self.pool, lambda: (session.device for session in self.node.hub.all()))
        self._pinger: asyncio.Task[None] | None = None
        self._lag: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.pool.open(wait=False)
        await self._log.open()
        await self.node.start()
        self.last_seen.start()
        if self.abuse is not None:
            self.abuse.start()
        self._pinger = asyncio.get_running_loop().create_task(self._ping_for_ever())
        self._lag = asyncio.get_running_loop().create_task(gauges.watch_loop())
        gauges.bind(self)

    async def _ask(self, openings: list[Opening]) -> list[Answer]:
        try:
            return await ask(self._accounts.rows, openings)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _identify(self, sessions: Any) -> list[Standing]:
        try:
            return await account_sessions.identify(self.pool, sessions)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _shows(self, pairs: Sequence[Pair]) -> list[Shown]:
        try:
            unaccepted = cast(Elsewhere, self.store).unaccepted if chosen.elsewhere() else None
            found = await visible_async(self.pool, pairs, unaccepted)
        except (psycopg.Error, PoolTimeout, OSError, Unavailable):
            return [NOTHING] * len(pairs)
        return [Shown(one.typing, one.online, one.last_seen) for one in found]

    async def _envelope_devices(self, users: Sequence[str]) -> dict[str, dict[str, int]]:
        try:
            found = await envelope_devices_async(self.pool, users)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None
        return {user: dict(devices) for user, devices in found.items()}

    async def _attach(self, messages: Sequence[Attached]) -> list[str]:
        try:
            return await attaching.attach(self.pool, self.node.roster, messages)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _detach(self, messages: Sequence[tuple[str, str]]) -> None:
        try:
            await attaching.detach(self.pool, messages)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _reads_of(self, users: Sequence[str]) -> list[Reads]:
        try:
            return [Reads(*one) for one in await readers_async(self.pool, users)]
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _reads_shown(self, pairs: Sequence[Pair]) -> list[bool]:
        try:
            return await reads_shown_async(self.pool, pairs)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    async def _judge(self, sessions: Any) -> list[str]:
        """What the check of the living sessions asks. It ends whom it must; the banned are told before why, and the others have
        the limits that they should have."""
        asked_at = asyncio.get_running_loop().time()
        found = await self._identify(sessions)
        for (user, device, _), (verdict, limits) in zip(sessions, found, strict=True):
            session = self.node.hub.get(user, device)
            if session is None:
                continue
            if verdict == "banned":
                tell_banned(session, *await self.ban_of(user, device))
            else:
                self.own_limits.apply(session, limits, asked_at)
        return [standing.verdict for standing in found]

    async def ban_of(self, user: str, device: str) -> tuple[int | None, str]:
        """Until when, and the sanction that it is for. Raises ``Unavailable``."""
        try:
            return await account_sessions.ban_of(self.pool, user, device)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise Unavailable(str(error)) from None

    # who comes

    @property
    def unauthenticated(self) -> int:
        return len(self.owing)

    def refused(self, address: str, owes: bool) -> tuple[int, str, int] | None:
        """Of a socket that was just counted: ``afterMs``, reason and close code, if it may not stay. ``owes``: it has brought no
        token."""
        if self.draining:
            metrics.count("admissions", "draining")
            return random.randrange(1_000, RECONNECT_SPREAD_MS), "deploy", Close.RESTART
        if len(self.connections) > self.most_connections:
            return self._overloaded(address)
        if owes and self.addresses[address] > LIMITS.unauthenticated_per_address:
            metrics.count("admissions", "address")
            return _a_while(), "too many connections from your address", Close.OVERLOADED
        if len(self.owing) > LIMITS.unauthenticated:
            # Who means it sends its token at once.
            longest = next(iter(self.owing))
            longest.turn_away(*self._overloaded(longest.address))
        return None

    def _overloaded(self, address: str) -> tuple[int, str, int]:
        metrics.count("admissions", "cap")
        now = clock.now_ms()
        # One address must not push away the slots of all others: nobody has looked at a token.
        if self._strangers.take(address, LIMITS.unauthenticated_per_address, now):
            return _a_while(), "overloaded", Close.OVERLOADED
        return self.waiting_for_room.after(now), "overloaded", Close.OVERLOADED

    def message_rate(self, user: str) -> Rate:
        rate = self.rates.get(user)
        if rate is None:
            if len(self.rates) > MAX_RATES:
                # Who has been silent for long enough has a full allowance: a new limiter says the same.
                now = asyncio.get_running_loop().time() * 1000
                self.rates = {known: rate for known, rate in self.rates.items() if rate.tat > now}
            rate = self.rates[user] = Rate()
        return rate

    # events from Django code

    def on_layer(self, payload: Any) -> None:
        user, event = payload
        kind = event.get("type")
        sessions = self.node.sessions
        for session in list(self.node.hub.of(user)):
            if kind == "user.banned" or (kind == "device.banned" and event.get("deviceId") == session.device):
                tell_banned(session, event.get("until"), event.get("sanction", ""))
                sessions.end(session, Close.BANNED, "banned")
            elif kind in ("device.removed", "session.revoked") and event.get("deviceId") == session.device:
                unlinked = kind == "device.removed"
                if not unlinked and session.issued_at >= event.get("sessionFrom", float("inf")):
                    continue  # already the session that made the earlier ones void
                sessions.end(session, CLOSE_OF["unlinked" if unlinked else "revoked"], str(kind))
            elif (
                kind == "notice"
                and event["kind"] in _NOTICES
                and session.state >= 1
                and event.get("but") != session.device
                and event.get("only", session.device) == session.device
            ):
                session.send(frames.Notice(event["kind"], event["data"]))
        self.node.roster.forget_devices(user)
        if kind in ("blocks.changed", "reads.changed"):
            self.node.silence.changed(user)
        if kind == "limits.changed":
            self.own_limits.changed(user)
        if kind == "request.accepted":
            self.node.requests.on_accepted(event["accepted"])
        if kind == "device.removed":
            task = asyncio.get_running_loop().create_task(sessions.forget(user, str(event.get("deviceId"))))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # pings and stuck sockets

    async def _ping_for_ever(self) -> None:
        """A wheel: each second the sockets of one slot are pinged, so that no second has all of them."""
        tick = 0
        while True:
            await asyncio.sleep(min(1.0, LIMITS.ping_ms / 1000))
            tick += 1
            self.turn_wheel(tick)
            self.own_limits.tick()

    def turn_wheel(self, tick: int) -> None:
        """Never raises: a connection that fails is logged, and the others have their turn."""
        slots = max(1, LIMITS.ping_ms // 1000)
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            try:
                if connection.slot % slots == tick % slots:
                    connection.ping()
                connection.check_slow(now)
            except Exception:
                log.exception("a connection could not be pinged")

    # shutdown

    async def drain(self, spread_ms: int = RECONNECT_SPREAD_MS) -> None:
        """SIGTERM: nobody new, no new sends, a slot for everybody, finish what is in flight, close 1012."""
        self.draining = True
        # The others let in no more than this; slots that fit spare everybody a second way.
        spread_ms = max(spread_ms, round(len(self.connections) * step_ms()))
        for connection in list(self.connections):
            connection.tell_reconnect(random.randrange(spread_ms), "deploy")
        await self.node.settle(SETTLE_S)
        for connection in list(self.connections):
            connection.close(Close.RESTART, "deploy")
        deadline = asyncio.get_running_loop().time() + 3
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        for task in (self._pinger, self._lag):
            if task is not None:
                task.cancel()
        self.own_limits.stop()
        await self.last_seen.stop()
        if self.abuse is not None:
            await self.abuse.stop()
        await self.node.stop()
        with contextlib.suppress(Exception):
            await self._accounts.close()
            await self._log.close()
            await self.pool.close(timeout=2)


def _a_while() -> int:
    return random.randrange(5_000, 10_000)


def tell_banned(session: Session, until: int | None, sanction: str) -> None:
    """The error ``banned {until, appealUrl}``, before the close 4403."""
    if session.state is State.CLOSED:
        return
    refused = banned(until, appeals.url(sanction))
    metrics.error(refused.code)
    session.send(error_frame(refused.code, refused.message, details=refused.details))


_gateways: dict[asyncio.AbstractEventLoop, Gateway] = {}


async def gateway() -> Gateway:
    """The gateway of the running loop; started on first use."""
    loop = asyncio.get_running_loop()
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway(os.environ.get("WHATSAPP_GATEWAY", "gateway"))
        await found.start()
    return found
