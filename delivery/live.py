"""Live events at the sessions of this process: the next one goes out, an older one is dropped, a hole is read (R9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from delivery.envelopes import named
from delivery.reader import Reader
from delivery.session import Catching, Event, Hub, Outlet, Session, State, event_of
from delivery.store.interface import Unavailable
from delivery.store.values import Logged, PageRequest
from delivery.tracing import Tracing
from delivery.unacked import Unacked
from delivery.view import EVENT_KINDS
from delivery.wired import unwired
from whatsapp.infra import faults, metrics
from whatsapp.wire.codec import Codec

log = logging.getLogger(__name__)

#: Events that change what earlier rows of the log say.
REWRITING = frozenset(("edit", "delete"))

#: Two gateways publish to one session without an order between them: a hole is given this long to close by itself.
HOLE_WAIT_S = 0.02
#: Live events kept while a conversation is read; beyond it the log is read again.
HELD = 64
#: Of contents and optional fields that are written at once to a socket: a run must not fill the buffer of a reader who keeps up.
JOINED_BYTES = 32 * 1024
#: A device's own sends remembered above a hole; a page passes what is forgotten.
OWN = 1024

_CANNOT = object()


def _joined(outlet: Outlet, events: Sequence[Event], codec: Codec) -> object:
    try:
        return outlet.join([event.shared(codec) for event in events])
    except Exception:
        log.exception("events could not be encoded")
        return _CANNOT  # one by one: those that can be are sent


def _size(logged: Logged) -> int:
    return len(logged.content or b"") + len(logged.extra or b"") + len(logged.envelopes or b"")


def _write_all(session: Session, frames: Sequence[bytes]) -> None:
    if sum(map(len, frames)) <= 2 * JOINED_BYTES:
        session.outlet.write_joined(session.outlet.join(frames))
    else:
        for frame in frames:
            session.outlet.write(frame)


class Live:
    def __init__(self, hub: Hub, reader: Reader) -> None:
        self._hub = hub
        self._reader = reader
        self.tracing = Tracing()
        self.unacked: Unacked | None = None
        #: Hears of users whose sessions are said to be here, and are not: they were closed a moment ago.
        self.unheard: Callable[[Sequence[str]], None] | None = None
        #: Whether what an older list of members calls a request was accepted a moment ago.
        self.request_ended: Callable[[str, str], bool] = lambda conversation, user: False
        #: Counts an ack up to this seq.
        self.acked: Callable[[Session, str, int], None] = lambda session, conversation, seq: None
        self._tasks: set[asyncio.Task[None]] = set()

    # from the bus

    def on_live(self, payload: Any) -> None:
        """``[logged, [users]]``"""
        raw, users = payload
        self._look_for(users)
        self.deliver(event_of(unwired(raw)), users)

    def on_group(self, payload: Any) -> None:
        """``[[[logged, …], [users]], …]``: what a pass of a lane has for this process."""
        for raws, users in payload:
            self._look_for(users)
            self._deliver_run([event_of(unwired(raw)) for raw in raws], users)

    def on_poke(self, payload: Any) -> None:
        """``[conversation, seq, [users]]``"""
        self._look_for(payload[-1])
        self.poke(*payload)

    def _look_for(self, users: Sequence[str]) -> None:
        if self.unheard is not None:
            gone = [user for user in users if not self._hub.complete(user)]
            if gone:
                self.unheard(gone)

    # to the sessions

    def deliver(self, event: Event, users: Sequence[str]) -> None:
        by_user = self._hub.by_user
        logged = event.logged
        for user in users:
            devices = by_user.get(user)
            if devices:
                told = event
                if logged.request and (
                    user == logged.sender or self.request_ended(logged.conversation, user)
                ):
                    told = event.plain
                for session in devices.values():
                    self._offer(session, told)
        if event.logged.conversation in self.tracing.watched:
            self.tracing.delivered(event, [session for user in users for session in self._hub.of(user)])
        if event.written:
            metrics.delivered(event.logged.at)

    def _deliver_run(self, events: list[Event], users: Sequence[str]) -> None:
        """Ascending events of one conversation: who has all before them gets them in one write."""
        first, last = events[0].logged, events[-1].logged
        conversation, before, top = first.conversation, first.seq - 1, last.seq
        size = sum(_size(event.logged) for event in events)
        whole = top - before == len(events) and size <= JOINED_BYTES
        #: To whom not all of it goes, or something besides: a sender, and who has an envelope.
        apart = {event.logged.device for event in events}
        for event in events:
            if event.logged.envelopes is not None:
                apart.update(named(event.logged.envelopes))
        joined: dict[tuple[type, Codec], object] = {}
        by_user = self._hub.by_user
        for user in users:
            devices = by_user.get(user)
            if not devices:
                continue
            for session in devices.values():
                outlet = session.outlet
                if (
                    whole
                    and session.sent.get(conversation) == before
                    and session.state is State.LIVE
                    and conversation not in session.catching
                    and not outlet.paused
                    and session.device not in apart
                ):
                    kind = type(outlet), session.codec
                    run = joined.get(kind)
                    if run is None:
                        run = joined[kind] = _joined(outlet, events, session.codec)
                    if run is not _CANNOT and self._write_run(session, conversation, top, run):
                        continue
                for event in events:
                    self._offer(session, event)
        if conversation in self.tracing.watched:
            there = [session for user in users for session in self._hub.of(user)]
            for event in events:
                self.tracing.delivered(event, there)
        for event in events:
            if event.written:
                metrics.delivered(event.logged.at)

    def _write_run(self, session: Session, conversation: str, top: int, run: object) -> bool:
        try:
            session.outlet.write_joined(run)
        except Exception:
            log.exception("events could not be written to a session")  # the others have done nothing
            return False
        self._passed(session, conversation, top)
        if self.unacked is not None:
            self.unacked.offered(session, conversation, top)
        return True

    def _offer(self, session: Session, event: Event) -> None:
        try:
            self.offer(session, event)
        except Exception:
            log.exception("an event could not be offered to a session")

    def offer(self, session: Session, event: Event) -> None:
        logged = event.logged
        conversation, seq = logged.conversation, logged.seq
        own = logged.device == session.device
        if self.unacked is not None and logged.sender != session.user and logged.kind not in EVENT_KINDS:
            self.unacked.offered(session, conversation, seq)
        if session.state is not State.LIVE:
            if session.sync is not None and logged.kind in REWRITING:
                session.sync.rewritten.add(conversation)
            if own:
                self._own(session, conversation, seq)
            elif session.sync is not None:
                session.sync.heard(conversation, seq)
            return
        sent = session.sent.get(conversation)
        catching = session.catching.get(conversation)
        if sent is not None and catching is None and not session.outlet.paused:
            if seq == sent + 1:
                if not own:
                    session.outlet.write(event.frame(session))
                self._passed(session, conversation, seq)
                if own and session.early:
                    self._early(session, conversation, sent, session.sent[conversation])
                return
            if seq <= sent:
                return
            if faults.off("sent") and not own:
                session.outlet.write(event.frame(session))
                session.sent[conversation] = seq
                return
        elif sent is None and faults.off("sent") and not own:
            session.outlet.write(event.frame(session))
            session.sent[conversation] = seq
            return
        if own and sent is not None:
            self._own(session, conversation, seq)
            return
        if catching is not None:
            catching.heard = max(catching.heard, seq)
            if len(catching.held) < HELD and not own:
                catching.held[seq] = event
        elif session.outlet.paused:
            session.behind[conversation] = None
        else:
            self._start(session, conversation, seq, None if own else event)

    def poke(self, conversation: str, seq: int, users: Sequence[str]) -> None:
        for user in users:
            for session in self._hub.of(user):
                if self.unacked is not None:
                    self.unacked.offered(session, conversation, seq)
                self.catch_up(session, conversation, seq)

    def catch_up(self, session: Session, conversation: str, seq: int) -> None:
        """There is something up to ``seq``: read it unless it was sent."""
        if session.state is not State.LIVE:
            if session.sync is not None:
                session.sync.rewritten.add(conversation)  # by what, nobody says
                session.sync.heard(conversation, seq)
            return
        catching = session.catching.get(conversation)
        if catching is not None:
            catching.heard = max(catching.heard, seq)
        elif session.outlet.paused:
            session.behind[conversation] = None
        elif session.sent.get(conversation, -1) < seq:
            self._start(session, conversation, seq, None)

    def resume(self, session: Session) -> None:
        """The outlet takes more again."""
        behind, session.behind = session.behind, {}
        for conversation in behind:
            self.catch_up(session, conversation, 1 << 53)

    def _own(self, session: Session, conversation: str, seq: int) -> None:
        """Its ✓ is this event's delivery. It opens no hole by itself; the next foreign event does."""
        if session.sent.get(conversation) == seq - 1 and conversation not in session.catching:
            self._passed(session, conversation, seq)
            self._early(session, conversation, seq - 1, session.sent[conversation])
            return
        own_seqs = session.own.setdefault(conversation, set())
        if len(own_seqs) < OWN:
            own_seqs.add(seq)

    def _passed(self, session: Session, conversation: str, seq: int) -> None:
        """Everything owed up to ``seq`` was written; the device's own sends just above need no writing."""
        own = session.own.get(conversation)
        if own:
            while seq + 1 in own:
                seq += 1
                own.discard(seq)
            if not own or max(own) <= seq:
                del session.own[conversation]
        session.sent[conversation] = seq

    def _start(self, session: Session, conversation: str, seq: int, event: Event | None) -> None:
        catching = session.catching[conversation] = Catching(seq)
        if event is not None:
            catching.held[seq] = event
        task = asyncio.get_running_loop().create_task(self._catch(session, conversation, catching))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _catch(self, session: Session, conversation: str, catching: Catching) -> None:
        try:
            if conversation in session.sent:
                await asyncio.sleep(HOLE_WAIT_S)
            delay = 0.1
            while session.state is State.LIVE:
                if session.outlet.paused:
                    session.behind[conversation] = None
                    return
                if not self._take_held(session, conversation, catching):
                    return
                try:
                    if not await self._read(session, conversation, catching):
                        return
                except Unavailable:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 5.0)
        finally:
            if session.catching.get(conversation) is catching:
                del session.catching[conversation]

    def _take_held(self, session: Session, conversation: str, catching: Catching) -> bool:
        """Write held events that are next. False when nothing is missing any more."""
        sent = session.sent.get(conversation)
        if sent is None:
            return True
        self._passed(session, conversation, sent)
        self._early(session, conversation, sent, session.sent[conversation])
        while (event := catching.held.pop(session.sent[conversation] + 1, None)) is not None:
            session.outlet.write(event.frame(session))
            self._passed(session, conversation, event.logged.seq)
        return session.sent[conversation] < catching.heard

    def _early(self, session: Session, conversation: str, before: int, through: int) -> None:
        """Count an ack that came too early, if nothing was written to the device since: of what is owed above ``before`` and up
        to ``through``, which is its own, its ✓ has told it. What is written later it cannot have meant (R10)."""
        seq, sent = session.early.pop(conversation, (0, 0))
        if seq and sent in (before, -1):
            self.acked(session, conversation, min(seq, through))
            if seq > through:
                session.early[conversation] = seq, through

    async def _read(self, session: Session, conversation: str, catching: Catching) -> bool:
        """Read and write one page. False when the log has no more for this user."""
        sent = session.sent.get(conversation)
        if sent is None:
            position = await self._reader.position(session.user, session.device, conversation)
            if position is None:
                return False
            sent = position.acked
            session.acked.setdefault(conversation, sent)
        heard = catching.heard
        started = asyncio.get_running_loop().time()
        page = await self._reader.page(PageRequest(conversation, session.user, sent))
        metrics.paged("live_page", started)
        if session.state is not State.LIVE:
            return False
        through = max(sent, page.through)
        others = [logged.seq for logged in page.events if logged.device != session.device]
        self._early(session, conversation, sent, others[0] - 1 if others else through)
        _write_all(
            session,
            [
                (catching.held.pop(logged.seq, None) or event_of(logged)).frame(session)
                for logged in page.events
                if logged.device != session.device
            ],
        )
        self._passed(session, conversation, through)
        if page.through >= page.head and catching.heard == heard:
            # Marks may be above what is owed. What was heard of meanwhile may be younger than the page: it is read again.
            catching.heard = min(catching.heard, max(page.head, *catching.held, 0))
        return session.sent[conversation] < catching.heard
