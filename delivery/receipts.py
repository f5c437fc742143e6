"""Acknowledgements and receipts: state, not events (C5).

``(device, conversation) → acknowledged seq`` and ``(conversation, user) → delivered, read`` are monotone numbers. They are
forwarded to those who are online at once, coalesced per turn, and written behind, coalesced for up to half a second: a crash
loses a little of both, which repeats events and receipts but loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import hiredis

from delivery.absent import CHANGES_MS
from delivery.inbox import Inbox
from delivery.ports import Absent, Reads
from delivery.roster import Roster, unique
from delivery.session import Hub, Session, State
from delivery.store.interface import Store, Unavailable
from delivery.store.values import RECEIPTS_EACH, PositionWrite, Receipt, ReceiptWrite
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.spacing import spacing
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire import frames
from whatsapp.wire.codec import Codec

log = logging.getLogger(__name__)

RECEIPT = "receipt"  # payload: [Payload, …]
AGAIN = "receipt-again"  # the same, once they are written
FLUSH_S = 0.5
MAX_KNOWN = 100_000
MAX_HELD = 1_000  # receipts that wait for the end of a session's sync

#: Receipts that changed since some moment are looked for this long before it: they are written behind, by clocks that differ.
RECEIPT_SLACK_MS = 5_000

Status = Literal["delivered", "read"]
Change = tuple[str, str, Status, int, str]  # conversation, user, status, up_to, device that said so
#: conversation, user, status, up_to, at, device that said so (its own session hears nothing), recipients
Payload = tuple[str, str, Status, int, int, str, list[str]]


def send_receipts(session: Session, receipts: Sequence[Receipt]) -> None:
    """Write the stored receipts of others."""
    for receipt in receipts:
        states: list[tuple[Status, int]] = [("delivered", receipt.delivered), ("read", receipt.read)]
        for status, up_to in states:
            if up_to:
                session.send(
                    frames.StatusUpdate(
                        receipt.conversation,
                        status,
                        up_to=up_to,
                        user_id=receipt.user,
                        timestamp=receipt.changed_at or None,
                    )
                )


def send_held(session: Session) -> None:
    """Write the receipts that waited: for the end of a sync, or until it is known in which conversations a block is in force."""
    if session.silent is None:
        return
    held, session.receipts = session.receipts, {}
    for (conversation, user, status), frame in held.items():
        if user == session.user or session.hears(conversation, user, status):
            session.send(frame)


class Rules(Protocol):
    """To whom users show what they have read: :class:`delivery.silence.Silence`."""

    def known(self, user: str) -> Reads | None: ...

    async def reads(self, user: str) -> Reads:
        """Raises ``Unavailable``."""
        ...


class Receipts:
    def __init__(self, store: Store, bus: Bus, hub: Hub, roster: Roster, inbox: Inbox, rules: Rules) -> None:
        self._rules = rules
        self._store = store
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._inbox = inbox
        self._forward: Batcher[Change] = Batcher(self._run, 1024, spacing(LIMITS.receipts_spacing_ms))
        self._again: Batcher[Change] = Batcher(self._run_again, 1024)
        self._known: dict[tuple[str, str, str], int] = {}
        self._positions: dict[tuple[str, str], dict[str, int]] = {}  # (user, device) -> conversation -> acked
        self._states: dict[tuple[str, str], list[int]] = {}  # (conversation, user) -> [delivered, read, sent]
        self._flusher: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._missed: set[tuple[str, str]] = (
            set()
        )  # (conversation, user) whose forward did not reach everybody
        self.absent: Absent | None = None
        self._unheard: set[tuple[str, str]] = set()  # the same, because the hot node was away
        bus.on_undelivered(RECEIPT, self._undelivered)
        bus.on_undelivered(AGAIN, self._undelivered_again)
        bus.hot.on_term.append(self._new_term)

    def acked(self, session: Session, conversation: str, through: int, delivered: int) -> None:
        """The device stored everything owed up to ``through``; ``delivered`` is the highest event among it."""
        session.acked[conversation] = through
        self._positions.setdefault((session.user, session.device), {})[conversation] = through
        self._change(conversation, session.user, "delivered", delivered, session.device)
        self._schedule()

    def passed(self, session: Session, conversation: str, through: int) -> None:
        """Nothing up to ``through`` is owed: the position follows, nobody is told (R12)."""
        self._positions.setdefault((session.user, session.device), {})[conversation] = through
        self._schedule()

    def read(self, session: Session, conversation: str, up_to: int) -> None:
        """The user read up to ``up_to``; the caller has checked it against what this device acknowledged."""
        self._change(conversation, session.user, "read", up_to, session.device)
        self._schedule()

    def sent(self, conversation: str, user: str, seq: int) -> None:
        """A user's own message: counts as read for the user's own unread number."""
        state = self._states.setdefault((conversation, user), [0, 0, 0])
        if state[2] < seq:
            state[2] = seq
        self._schedule()

    def _change(self, conversation: str, user: str, status: Status, up_to: int, device: str) -> None:
        key = (conversation, user, status)
        if self._known.get(key, 0) >= up_to:
            return
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known[key] = up_to
        state = self._states.setdefault((conversation, user), [0, 0, 0])
        state[0] = max(state[0], up_to)  # what is read was delivered
        if status == "read":
            state[1] = max(state[1], up_to)
        self._forward.add((conversation, user, status, up_to, device))

    # forwarding

    async def _run(self, changes: list[Change]) -> None:
        await self._forward_all(changes, RECEIPT)

    async def _run_again(self, changes: list[Change]) -> None:
        await self._forward_all(changes, AGAIN)

    async def _forward_all(self, changes: list[Change], topic: str) -> None:
        highest: dict[tuple[str, str, Status], tuple[int, str]] = {}
        for conversation, user, status, up_to, device in changes:
            highest[conversation, user, status] = up_to, device  # monotone: the last is the highest
        metrics.batch("receipts", len(changes))
        try:
            lists = await self._roster.lists({conversation: 0 for conversation, _, _ in highest})
        except Unavailable:
            for conversation, user, _ in highest:
                self._miss(conversation, user)  # told once the store takes them
            return
        at = clock.now_ms()
        rules = await self._reads(
            user
            for conversation, user, status in highest
            if status == "read" and conversation in lists and lists[conversation].kind == "direct"
        )
        payloads: list[Payload] = []
        for (conversation, user, status), (up_to, device) in highest.items():
            known = lists.get(conversation)
            if known is None:
                continue
            if len(known.current) > RECEIPTS_EACH:
                to = [user]  # the others' counts: delivery.counts
            elif user in known.unaccepted and not faults.off("requests"):
                to = []  # a stranger's request waits: only one's own devices are told
            else:
                to = list(known.current)
            if status == "read":
                if known.kind == "direct" and not faults.off("reads"):
                    rule = rules[user]
                    if rule is None:
                        self._miss(conversation, user)  # told once it can be known
                    to = [one for one in to if rule is not None and rule.include(one)]
                if user not in to:
                    to.append(user)  # has left, and has other devices
            elif user in to:
                to.remove(user)
            if not to:
                continue
            payloads.append((conversation, user, status, up_to, at, device, to))
        self.on_receipts(payloads)
        everyone = unique([user for payload in payloads for user in payload[6]])
        try:
            sessions = dict(zip(everyone, await self._inbox.sessions(everyone), strict=True))
        except (HotUnavailable, hiredis.ReplyError):
            self._unheard.update((payload[0], payload[1]) for payload in payloads)
            return
        own = self._bus.process
        by_process: dict[str, list[Payload]] = {}
        for payload in payloads:
            there: dict[str, list[str]] = {}
            for user in payload[6]:
                found = sessions[user]
                if found is None:
                    self._unheard.add((payload[0], payload[1]))
                    continue
                if not found and topic == RECEIPT:
                    self._miss(payload[0], payload[1])
                for process in {entry.process for entry in found.values()}:
                    if process != own:
                        there.setdefault(process, []).append(user)
            for process, users in there.items():
                by_process.setdefault(process, []).append((*payload[:6], users))
        for process, items in by_process.items():
            self._bus.send(process, topic, items)

    async def _reads(self, users: Iterable[str]) -> dict[str, Reads | None]:
        """To whom they show what they have read; None: that cannot be known now."""
        found = {user: self._rules.known(user) for user in users}
        unknown = [user for user, rule in found.items() if rule is None]
        if unknown:
            answers = await asyncio.gather(*map(self._rules.reads, unknown), return_exceptions=True)
            for user, answer in zip(unknown, answers, strict=True):
                if isinstance(answer, Reads):
                    found[user] = answer
                elif not isinstance(answer, Unavailable):
                    log.error("what a user shows could not be read", exc_info=answer)
        return found

    def on_receipts(self, payloads: list[Payload]) -> None:
        """Write receipts to the sessions of this process (also the bus handler)."""
        by_user = self._hub.by_user
        for conversation, user, status, up_to, at, device, recipients in payloads:
            frame = None
            encoded: dict[Codec, bytes] = {}
            for recipient in recipients:
                for session in (by_user.get(recipient) or {}).values():
                    if session.device == device:
                        continue
                    others = recipient != user
                    known = session.silent is not None
                    if others and known and not session.hears(conversation, user, status):
                        continue
                    if frame is None:
                        frame = frames.StatusUpdate(
                            conversation, status, up_to=up_to, user_id=user, timestamp=at
                        )
                    if session.state is not State.LIVE or (others and not known):
                        if len(session.receipts) < MAX_HELD:
                            session.receipts[conversation, user, status] = frame
                        continue
                    data = encoded.get(session.codec)
                    if data is None:
                        data = encoded[session.codec] = session.codec.encode(frame)
                    session.outlet.write(data)

    def _miss(self, conversation: str, user: str) -> None:
        """Who was not there reads the receipts with its sync; if that comes before they are written, it hears them after."""
        self._missed.add((conversation, user))
        self._schedule()

    def _undelivered(self, payloads: list[Payload]) -> None:
        for payload in payloads:
            if self._bus.hot.available:
                self._miss(payload[0], payload[1])
            else:
                self._unheard.add((payload[0], payload[1]))

    def _undelivered_again(self, payloads: list[Payload]) -> None:
        """They are written by now: whoever comes reads them. Only who is there but out of reach must hear them later."""
        if not self._bus.hot.available:
            self._unheard.update((payload[0], payload[1]) for payload in payloads)

    def _new_term(self) -> None:
        unheard, self._unheard = self._unheard, set()
        self._tell_again(unheard)

    def _tell_again(self, pairs: set[tuple[str, str]]) -> None:
        statuses: tuple[Status, ...] = ("delivered", "read")
        for conversation, user in pairs:
            for status in statuses:
                up_to = self._known.get((conversation, user, status), 0)
                if up_to:
                    self._again.add((conversation, user, status, up_to, ""))

    # writing behind

    def _schedule(self) -> None:
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(FLUSH_S, self._start_flush)

    def _start_flush(self) -> None:
        self._flushing = asyncio.get_running_loop().create_task(self.flush())

    async def flush(self) -> None:
        """Write what has gathered; on failure it is kept and tried again."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        positions, self._positions = self._positions, {}
        states, self._states = self._states, {}
        missed, self._missed = self._missed, set()
        try:
            if positions or states:
                await self._store.save(
                    [
                        PositionWrite(device, conversation, acked)
                        for (_, device), acks in positions.items()
                        for conversation, acked in acks.items()
                    ],
                    [
                        ReceiptWrite(conversation, user, *state)
                        for (conversation, user), state in states.items()
                    ],
                    clock.now_ms(),
                )
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("positions and receipts could not be written")
            self._merge_back(positions, states)
            self._missed |= missed
            self._schedule()
            return
        self._tell_again(missed)
        if self.absent is not None:
            readers = {user for (_, user), (_, read, sent) in states.items() if read or sent}
            self.absent.users(list(readers), CHANGES_MS)
        try:
            await self._inbox.clean(positions)
        except (HotUnavailable, hiredis.ReplyError):
            pass  # the 60 s check removes marks that positions cover (R8)

    def _merge_back(
        self, positions: dict[tuple[str, str], dict[str, int]], states: dict[tuple[str, str], list[int]]
    ) -> None:
        for key, acks in positions.items():
            into = self._positions.setdefault(key, {})
            for conversation, acked in acks.items():
                into[conversation] = max(acked, into.get(conversation, 0))
        for pair, state in states.items():
            newer = self._states.setdefault(pair, [0, 0, 0])
            newer[:] = [max(a, b) for a, b in zip(newer, state, strict=True)]
