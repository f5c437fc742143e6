"""The socket of the page "sessions online": asks every gateway every two seconds, tells the browser what changed."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from typing import Any, Final

import hiredis
import msgspec
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from chats.gateway import Gateway, gateway
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.origins import refuse, same_origin
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.staff import gateways
from whatsapp.staff.online import entry
from whatsapp.staff.online.query import MAX_PAGES, PER_PAGE, Ask, Row, as_dict
from whatsapp.staff.online.reporter import ASK

log = logging.getLogger(__name__)

EVERY_S: Final = 2.0
#: Between two questions to the gateways, however fast the browser asks.
AT_LEAST_S: Final = 0.25
#: How long the answers of the gateways are gathered.
GATHER_S: Final = 0.8
#: The staff session is looked at again: logout, an expired session, a reset factor and lost permissions end the page.
RECHECK_S: Final = 20.0
MAX_QUESTION: Final = 512  # characters
#: Close codes of this socket (4000-4999 are an application's own, RFC 6455, section 7.4.2).
NOT_STAFF, TOO_MANY, MALFORMED = 4403, 4429, 4400

#: Pages of this process, from before they have a channel until after they have none.
_open: set[OnlineConsumer] = set()


class OnlineConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "admin"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Who may not look costs a look at the session: no channel, no subscription."""
        self._key = entry.session_key(scope)
        if not same_origin(scope) or await entry.staff_of(self._key) is None:
            await refuse(scope, receive, send, 403)
            return
        _open.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            _open.discard(self)
            if not _open:
                _let_go(self.channel_layer)

    async def connect(self) -> None:
        self._asker: asyncio.Task[None] | None = None
        await self.accept()
        if len(_open) > LIMITS.staff_watchers:
            await self.close(TOO_MANY, "too many live pages are open here")
            return
        self._page, self._user, self._gateway = 1, "", ""
        self._number = 0
        self._asked: list[str] = []
        self._heard: dict[str, tuple[int, list[Row]]] = {}
        self._told = ""
        self._answered = asyncio.Event()
        self._now = asyncio.Event()
        self._asker = asyncio.get_running_loop().create_task(self._ask_for_ever())

    async def disconnect(self, code: int) -> None:
        if self._asker is not None:
            self._asker.cancel()

    # the browser

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """``{"page": 1, "user": "<id or empty>", "gateway": "<name or empty>"}``: what is shown from here on."""
        if text_data is None or len(text_data) > MAX_QUESTION:
            await self.close(MALFORMED, "not a question")
            return
        try:
            wanted = json.loads(text_data)
            page, user, name = int(wanted["page"]), str(wanted["user"]), str(wanted["gateway"])
            user = str(uuid.UUID(user)) if user else ""
        except (ValueError, KeyError, TypeError):
            await self.close(MALFORMED, "not a question")
            return
        self._page, self._user, self._gateway = max(1, min(page, MAX_PAGES)), user, name[:100]
        self._told = ""
        self._now.set()

    # the gateways

    async def sessions_here(self, message: dict[str, Any]) -> None:
        """An answer of a gateway (of :class:`whatsapp.staff.online.reporter.Reporter`)."""
        if message["number"] != self._number:
            return
        self._heard[message["process"]] = (message["total"], [Row(*row) for row in message["rows"]])
        if len(self._heard) >= len(self._asked):
            self._answered.set()

    async def _ask_for_ever(self) -> None:
        here = await gateway()
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            try:
                if loop.time() - checked > RECHECK_S:
                    checked = loop.time()
                    if await entry.staff_of(self._key) is None:
                        await self.close(NOT_STAFF, "signed out")
                        return
                await self._ask(here)
            except (HotUnavailable, hiredis.ReplyError):
                await self._tell({"type": "problem", "text": "The hot node cannot be reached."})
            except Exception as error:
                log.warning("a live page could not be updated: %s", type(error).__name__)
                await self._tell({"type": "problem", "text": "The sessions cannot be read now."})
            await asyncio.sleep(AT_LEAST_S)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._now.wait()
            except TimeoutError:
                pass
            self._now.clear()

    async def _ask(self, here: Gateway) -> None:
        bus = here.node.bus
        (lines,) = await bus.hot.run([("HGETALL", gateways.KEY)])
        known = {report.process: report for report in gateways.living(lines)}
        known = {
            process: report
            for process, report in known.items()
            if not self._gateway or report.name == self._gateway
        }
        self._number += 1
        self._heard, self._asked = {}, list(known)
        self._answered.clear()
        ask = Ask(self.channel_name, self._number, self._page * PER_PAGE, self._user, self._gateway)
        for process in known:
            bus.send(process, ASK, msgspec.to_builtins(ask))
        if known:
            try:
                async with asyncio.timeout(GATHER_S):
                    await self._answered.wait()
            except TimeoutError:
                pass
        rows = sorted((row for _, found in self._heard.values() for row in found), key=lambda row: -row.since)
        start = (self._page - 1) * PER_PAGE
        total = sum(number for number, _ in self._heard.values())
        await self._tell(
            {
                "type": "sessions",
                "total": total,
                "page": self._page,
                "pages": max(1, min(MAX_PAGES, -(-total // PER_PAGE))),
                "rows": [as_dict(row) for row in rows[start : start + PER_PAGE]],
                "gateways": [
                    {
                        "name": report.name,
                        "sessions": self._heard[process][0] if process in self._heard else None,
                    }
                    for process, report in sorted(known.items(), key=lambda item: item[1].name)
                ],
            }
        )

    async def _tell(self, content: dict[str, Any]) -> None:
        """Only what is new; the time goes with it."""
        text = json.dumps(content)
        if text != self._told:
            self._told = text
            await self.send_json({**content, "now": now_ms()})


def _let_go(layer: Any) -> None:
    """channels_redis polls for as long as it has ever subscribed: with the last page its connection goes too. Whoever comes
    meanwhile waits for its lock and subscribes anew."""
    task = asyncio.get_running_loop().create_task(layer.flush())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
