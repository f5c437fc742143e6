"""The engine of one process, put together. A gateway has one; the sweep of the workers has a smaller one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from delivery.attachments import Attachments
from delivery.counts import Counts
from delivery.drain import Drain, DrainRequest
from delivery.fanout import LIVE, POKE, Fanout
from delivery.forwards import Forwards
from delivery.group_presence import GroupPresence
from delivery.inbox import Inbox
from delivery.keyed import Keyed
from delivery.lanes import GROUP, SubmitLane
from delivery.live import Live
from delivery.log import Log
from delivery.open_chats import OpenChats
from delivery.ports import (
    Absent,
    Attach,
    Detach,
    EnvelopeDevices,
    Identify,
    ReadsOf,
    ReadsShown,
    Shows,
    everybody,
    keyless,
    nothing_to_attach,
    nothing_to_detach,
    open_reads,
    shown_reads,
)
from delivery.presence import PRESENCE, Presence
from delivery.reader import Reader
from delivery.receipts import AGAIN, RECEIPT, Receipts
from delivery.requests import ACCEPTED, Requests
from delivery.roster import Roster
from delivery.session import Hub
from delivery.sessions import REPLACED, Sessions
from delivery.silence import Silence
from delivery.store.interface import Store
from delivery.sync import Sync
from delivery.tracing import Tracing
from delivery.typing import OPEN_TYPING, TYPING, Typing
from delivery.unacked import Unacked
from whatsapp.infra.bus import DEVICES, PROFILE, VISIBILITY, Bus

#: A process that ends waits so long for what it has reported of absent devices to be written.
REPORTED_S = 2.0


class Node:
    """``process`` names this incarnation of the process: bus channel, session records and outbox writer."""

    def __init__(
        self,
        *,
        process: str,
        store: Store,
        hot_url: str,
        identify: Identify,
        shows: Shows = everybody,
        reads_of: ReadsOf = open_reads,
        reads_shown: ReadsShown = shown_reads,
        envelope_devices: EnvelopeDevices = keyless,
        attach: Attach = nothing_to_attach,
        detach: Detach = nothing_to_detach,
        submit_drain: Callable[[DrainRequest], None] | None = None,
        submit_lane: SubmitLane | None = None,
    ) -> None:
        self.store = store
        self.bus = Bus(hot_url, process)
        self.hub = Hub()
        self.roster = Roster(store)
        self.reader = Reader(store)
        self.inbox = Inbox(self.bus.hot)
        self.live = Live(self.hub, self.reader)
        self.silence = Silence(store, self.hub, reads_of, reads_shown)
        self.receipts = Receipts(store, self.bus, self.hub, self.roster, self.inbox, self.silence)
        self.presence = Presence(self.bus, self.hub, self.roster, shows)
        self.chats = OpenChats(self.bus)
        self.group_presence = GroupPresence(self.bus, self.roster, self.presence, self.chats)
        self.typing = Typing(self.bus, self.hub, self.roster, self.chats, shows)
        drain = Drain(self.bus.hot, submit_drain) if submit_drain is not None else None
        self.sync = Sync(store, self.inbox, self.reader, self.receipts, self.silence, drain)
        self.live.acked = self.sync.acked
        self.fanout = Fanout(store, self.bus, self.roster, self.live.deliver, submit_lane)
        self.tracing = self.live.tracing = self.fanout.tracing = Tracing(self.bus)
        self.counts = Counts(store, self.hub, self.roster)
        self.keyed = Keyed(envelope_devices)
        forwards = Forwards(self.bus.hot)
        attachments = Attachments(attach, detach)
        self.log = Log(
            store, self.roster, self.fanout, self.receipts, self.counts, self.keyed, forwards, attachments
        )
        self.sessions = Sessions(
            store,
            self.bus,
            self.hub,
            self.roster,
            self.inbox,
            self.live,
            self.presence,
            self.chats,
            identify,
            self.silence,
        )
        self.requests = Requests(self.bus, self.roster, self.inbox, self.silence, self.presence)
        self.live.request_ended = self.requests.has_ended
        self.log.accepted = self.requests.accepted
        self.bus.subscribe(ACCEPTED, self.requests.on_accepted)
        self.bus.subscribe(LIVE, self.live.on_live)
        self.bus.subscribe(GROUP, self.live.on_group)
        self.bus.subscribe(POKE, self.live.on_poke)
        self.bus.subscribe(RECEIPT, self.receipts.on_receipts)
        self.bus.subscribe(AGAIN, self.receipts.on_receipts)
        self.bus.subscribe(PRESENCE, self.presence.on_presence)
        self.bus.subscribe(VISIBILITY, self.presence.on_visibility)
        self.bus.subscribe(PROFILE, self.presence.on_profile)
        self.bus.subscribe(TYPING, self.typing.on_typing)
        self.bus.subscribe(OPEN_TYPING, self.typing.on_open_typing)
        self.bus.subscribe(REPLACED, self.sessions.on_replaced)
        self.bus.subscribe(DEVICES, self._devices_changed)

        self._absent: Absent | None = None
        self._silent: asyncio.Task[None] | None = None

    def report_absent(self, to: Absent) -> None:
        """From now on ``to`` hears of devices that no session could be told of something. Before :meth:`start`."""
        self._absent = self.fanout.absent = self.receipts.absent = to
        self.fanout.here = self.hub.complete
        self.live.unacked = Unacked(to.devices)
        self.live.unheard = to.unheard

    def _devices_changed(self, user: str) -> None:
        if self._absent is not None:
            self._absent.forget(user)
        self.keyed.forget(user)
        self.roster.forget_devices(user)

    async def start(self) -> None:
        await self.bus.start()
        self.fanout.progress.start()
        self.sessions.start()
        self.tracing.start()
        if self.live.unacked is not None:
            self._silent = asyncio.get_running_loop().create_task(self.live.unacked.run())

    async def settle(self, seconds: float) -> None:
        """Finish what is in flight: appends, marks, receipts. Gives up after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.log.drained()
                await self.fanout.drained()
                await self.receipts.flush()

    async def stop(self) -> None:
        self.tracing.stop()
        if self._silent is not None:
            self._silent.cancel()
        await self.sessions.stop()
        await self.group_presence.stop()
        await self.counts.stop()
        await self.settle(5.0)
        if self.live.unacked is not None:
            self.live.unacked.end()
        if self._absent is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORTED_S):
                    await self._absent.drained()
        await self.fanout.progress.stop()
        await self.bus.stop()
