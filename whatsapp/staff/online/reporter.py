"""What a gateway tells staff: a line about itself every few seconds, and its sessions when a live page asks."""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import socket
from collections import deque
from typing import Any, Final, cast

import hiredis
import msgspec
from channels.layers import get_channel_layer

from chats.connection import Connection
from chats.gateway import Gateway
from delivery.session import State
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.staff import gateways
from whatsapp.staff.online.query import MAX_PAGES, PER_PAGE, Ask, Row

log = logging.getLogger(__name__)

ASK: Final = "staff.ask"
#: Sessions looked at in one turn of the loop: a fraction of a millisecond, whatever their number.
CHUNK: Final = 500
#: Answers in the making at once; more asks are dropped, the page asks again in two seconds.
AT_ONCE: Final = 8
_MINUTE: Final = int(60 / gateways.EVERY_S)


class Reporter:
    """One per gateway, on its loop."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._started_at = now_ms()
        self._stored: deque[float] = deque(maxlen=_MINUTE + 1)
        self._written = 0
        self._answers: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._gateway.node.bus.subscribe(ASK, self.on_ask)
        self._writer = asyncio.get_running_loop().create_task(self._write_for_ever())

    async def stop(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
        try:
            await self._gateway.node.bus.hot.run([("HDEL", gateways.KEY, self._gateway.process)])
        except (HotUnavailable, hiredis.ReplyError):
            pass

    # the line about itself

    async def _write_for_ever(self) -> None:
        while True:
            try:
                await self._write()
            except (HotUnavailable, hiredis.ReplyError):
                pass
            except Exception:
                log.exception("the gateway's line for staff could not be written")
            await asyncio.sleep(gateways.EVERY_S)

    async def _write(self) -> None:
        hot = self._gateway.node.bus.hot
        line = gateways.encode(self.report())
        await hot.run(
            [
                ("HSET", gateways.KEY, self._gateway.process, line),
                ("EXPIRE", gateways.KEY, gateways.KEY_TTL_S),
            ]
        )
        self._written += 1
        if self._written % _MINUTE == 0:
            await self._remove_the_dead()

    async def _remove_the_dead(self) -> None:
        """Lines of processes that were killed: nobody else takes them out."""
        hot = self._gateway.node.bus.hot
        (flat,) = await hot.run([("HGETALL", gateways.KEY)])
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        old = [process for process, line in pairs if gateways.is_forgotten(line)]
        if old:
            await hot.run([("HDEL", gateways.KEY, *old)])

    def report(self) -> gateways.Report:
        here = self._gateway
        stored = _stored()
        self._stored.append(stored)
        span = max(1, len(self._stored) - 1)
        rate = (stored - self._stored[0]) * _MINUTE / span
        return gateways.Report(
            name=here.name,
            process=here.process,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            at=now_ms(),
            sockets=len(here.connections),
            sessions=here.node.hub.count,
            messages_per_minute=round(rate),
            draining=here.draining,
            hot=here.node.bus.hot.available,
        )

    # sessions

    def on_ask(self, payload: Any) -> None:
        if len(self._answers) >= AT_ONCE:
            return
        try:
            ask = msgspec.convert(payload, Ask)
        except msgspec.ValidationError:
            log.warning("a question of a live page is not ours")
            return
        task = asyncio.get_running_loop().create_task(self._answer(ask))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, ask: Ask) -> None:
        try:
            total, rows = await self.sessions(ask)
            await get_channel_layer("admin").send(
                ask.channel,
                {
                    "type": "sessions.here",
                    "number": ask.number,
                    "gateway": self._gateway.name,
                    "process": self._gateway.process,
                    "total": total,
                    "rows": [list(row) for row in rows],
                },
            )
        except Exception as error:  # the layer's server is away: the page says that it hears nothing
            log.warning("a live page got no answer: %s", type(error).__name__)

    async def sessions(self, ask: Ask) -> tuple[int, list[Row]]:
        """How many sessions fit, and the newest of them."""
        if ask.gateway and ask.gateway != self._gateway.name:
            return 0, []
        limit = min(ask.limit, PER_PAGE * MAX_PAGES)
        connections = cast(list[Connection], list(self._gateway.connections))
        total = 0
        newest: list[tuple[int, int, Connection]] = []
        for index, connection in enumerate(connections):
            if index and index % CHUNK == 0:
                await asyncio.sleep(0)
            session = connection.session
            if session is None or session.state is State.CLOSED or (ask.user and session.user != ask.user):
                continue
            total += 1
            entry = (session.opened_at, id(connection), connection)
            if len(newest) < limit:
                heapq.heappush(newest, entry)
            elif entry > newest[0]:
                heapq.heapreplace(newest, entry)
        newest.sort(reverse=True)
        return total, [row for _, _, connection in newest if (row := self._row(connection)) is not None]

    def _row(self, connection: Connection) -> Row | None:
        session = connection.session
        if session is None:
            return None
        state = session.state.name.lower()
        if session.away and session.state is not State.CLOSED:
            state = "away"
        codec = "JSON" if connection.codec.text else "protobuf"
        return Row(
            self._gateway.name,
            session.user,
            session.device,
            codec,
            connection.protocol,
            state,
            session.opened_at,
        )


def _stored() -> float:
    """Messages this process has stored since its start, from its own metrics."""
    return sum(number for labels, number in metrics.MESSAGES.values.items() if labels[0] == "stored")
