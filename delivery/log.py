"""Appends: from a checked send to its ✓.

One append is in flight per process; what arrives meanwhile is the next batch, so a batch costs one statement and one fsync
whatever its size, and the order of arrival is kept (C3). Appends that come fast keep apart (ADR 0123). ✓ is written only after
the commit (C1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from delivery.attachments import Attachments
from delivery.counts import Counts
from delivery.envelopes import Seal
from delivery.fanout import Batch, Fanout
from delivery.forwards import Forwards
from delivery.keyed import Keyed
from delivery.receipts import Receipts
from delivery.roster import Roster, is_member, was_member
from delivery.seals import Refusal, Seals
from delivery.sending import Forward, Sending
from delivery.session import Event, Session, event_of
from delivery.store.errors import Blocked
from delivery.store.interface import Store, Unavailable
from delivery.store.values import Amendment, Appended, Conversation, Logged, Outcome, Send
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.spacing import spacing
from whatsapp.wire import frames
from whatsapp.wire.errors import RETRYABLE, Code

log = logging.getLogger(__name__)

MAX_BATCH = 256
#: A server that is frozen answers nothing and breaks no connection: senders are told after this long.
APPEND_TIMEOUT_S = 10.0

_NOT_STORED = "the message could not be stored, send it again"
#: What those may do too who may only listen.
_LISTENERS_TOO = frozenset(("delete", "reaction", "vote"))
#: Refusals that may be true now and were not when the send came for the first time.
_LATER = frozenset(
    (Code.NOT_MEMBER, Code.FORBIDDEN, Code.BAD_REQUEST, Code.MEMBER_MISMATCH, Code.DEVICE_MISMATCH)
)
#: What an amendment may be refused for.
_REFUSED = {
    Outcome.NO_TARGET: (Code.NOT_FOUND, "there is no such message"),
    Outcome.FORBIDDEN: (Code.FORBIDDEN, "it is somebody else's message, or may be seen once"),
    Outcome.GONE: (Code.GONE, "the message was deleted"),
    Outcome.TOO_LATE: (Code.WINDOW_EXPIRED, "the message is too old for that"),
    Outcome.TOO_MANY: (Code.LIMIT_EXCEEDED, "the message has too many different reactions"),
}


class Log:
    def __init__(
        self,
        store: Store,
        roster: Roster,
        fanout: Fanout,
        receipts: Receipts,
        counts: Counts,
        keyed: Keyed,
        forwards: Forwards,
        attachments: Attachments,
    ) -> None:
        self._store = store
        self._seals = Seals(keyed)
        self._receipts = receipts
        self._counts = counts
        self._roster = roster
        self._fanout = fanout
        self._forwards = forwards
        self._attachments = attachments
        self._queue: Batcher[Sending] = Batcher(self._run, MAX_BATCH, spacing(LIMITS.append_spacing_ms))
        #: Told of a user who has answered somebody whom the user had not accepted: conversation, user, other user.
        self.accepted: Callable[[str, str, str], None] = lambda conversation, user, other: None
        #: Told of each message that was stored: one that only counts. Must not raise or wait.
        self.noted: Callable[[Sending], None] = lambda sending: None

    def submit(
        self,
        session: Session,
        send: Send,
        ref: str,
        arrived: float,
        recipients: Sequence[str] | None = None,
        reply_to: str | None = None,
        seal: Seal | None = None,
        forward: Forward | None = None,
        media: str = "",
    ) -> None:
        """Queue a send; its answer (✓ or an error frame) is written to the session."""
        if session.sending >= session.limits.pending_sends or len(self._queue) >= LIMITS.pending_sends_total:
            metrics.refused(Code.UNAVAILABLE, send.conversation)
            refuse(
                session,
                Code.UNAVAILABLE,
                "too many sends are waiting",
                send.message_id,
                ref,
                retry_after_ms=1000,
            )
            return
        session.sending += 1
        self._queue.add(Sending(session, send, ref, arrived, recipients, reply_to, seal, forward, media))

    @property
    def waiting(self) -> int:
        """Sends that no append has taken yet."""
        return len(self._queue)

    async def drained(self) -> None:
        await self._queue.drained()
        await self._attachments.drained()

    async def _run(self, batch: list[Sending]) -> None:
        admitted = batch
        time = asyncio.get_running_loop().time
        started = time()
        try:
            admitted = _amendments_last(await self._admit(batch))
            if not admitted:
                return
            asked = time()
            now = clock.now_ms()
            progress = self._fanout.progress
            writer = progress.writer
            try:
                async with asyncio.timeout(APPEND_TIMEOUT_S):
                    stored = await self._store.append(writer, [pending.send for pending in admitted], now)
                results: Sequence[Appended | None] = stored.results
                row = stored.row
            except Blocked as blocked:
                # The others are stored; those of a conversation that somebody holds are refused below.
                results, row = blocked.results, blocked.row
                if blocked.unsure:
                    progress.rename()  # nobody would tell of it otherwise
            except Exception:
                progress.rename()  # the outcome is unknown
                raise
        except Exception as error:
            if not isinstance(error, Unavailable | TimeoutError):
                log.exception("an append failed")
            self._fail(admitted)
            return
        durable = time()
        faults.point("append-ack")
        events: list[Event] = []
        for pending, appended in zip(admitted, results, strict=True):
            if appended is not None:
                try:
                    self._answer(pending, appended, events)
                except Exception:
                    log.exception("an answer could not be written")
        if None in results:
            self._fail([p for p, appended in zip(admitted, results, strict=True) if appended is None])
        faults.point("ack-mark")
        if row:
            self._fanout.add(Batch(writer, row, events, durable))
        conversations = [event.logged.conversation for event in events]
        metrics.appended(admitted, conversations, started, asked, durable)

    def _fail(self, failed: list[Sending]) -> None:
        """Refuse sends that were not stored, and what waits behind one of the same device and conversation: it would
        overtake."""
        for pending in failed:
            self._refuse(pending, Code.UNAVAILABLE, _NOT_STORED)
        self._refuse_behind({pending.key for pending in failed})

    def _refuse_behind(self, keys: set[tuple[str, str]]) -> None:
        for pending in self._queue.take(lambda p: p.key in keys):
            self._refuse(pending, Code.UNAVAILABLE, _NOT_STORED)

    async def _admit(self, batch: list[Sending]) -> list[Sending]:
        """Members only; who never was one learns nothing about the conversation. A list that is some seconds old may let
        somebody in; nobody is turned away by one."""
        lists = await self._roster.lists({pending.send.conversation: 0 for pending in batch})
        refusals: list[Refusal | None]
        refusals = [_refusal(lists.get(pending.send.conversation), pending) for pending in batch]
        if any(refusals):
            doubted = {p.send.conversation for p, refusal in zip(batch, refusals, strict=True) if refusal}
            doubted = {c for c in doubted if c in lists and lists[c].kind == "group"}
            if doubted and not faults.off("reread"):
                lists |= await self._roster.reread(doubted)
                refusals = [_refusal(lists.get(pending.send.conversation), pending) for pending in batch]
        # Whatever may fail comes before the first refusal: nobody is answered twice.
        unread: set[tuple[str, str]] = set()
        if any(pending.seal is not None for pending in batch):
            unread = await self._seals.judge(batch, refusals, lists)
        repeated: dict[Sending, Appended] = {}
        if any(refusals) and not faults.off("repetitions"):
            repeated = await self._repeated(batch, refusals)
        baseless = await self._baseless(
            [p for p, refusal in zip(batch, refusals, strict=True) if not refusal]
        )
        too_far = await self._forwards.too_far(
            [p for p, refusal in zip(batch, refusals, strict=True) if not refusal and p not in baseless]
        )
        loose: dict[Sending, tuple[str, str]] = {}
        if any(pending.media for pending in batch):
            loose = await self._attachments.refusals(
                [
                    p
                    for p, refusal in zip(batch, refusals, strict=True)
                    if not refusal and p not in baseless and p not in too_far
                ]
            )
        admitted = []
        for pending, refusal in zip(batch, refusals, strict=True):
            if pending in repeated:
                self._answer(pending, repeated[pending], [])
            elif refusal is not None:
                self._refuse(pending, *refusal)
            elif pending in loose:
                self._refuse(pending, *loose[pending])
            elif pending in too_far:
                self._refuse(pending, Code.LIMIT_EXCEEDED, "forwarded to too many conversations")
            elif pending in baseless:
                self._refuse(pending, Code.NOT_FOUND, "replyTo: there is no such message")
            else:
                known = lists[pending.send.conversation]
                pending.group = known.kind == "group"
                if known.unaccepted:
                    pending.request = known
                    pending.send.answers = pending.send.sender in known.unaccepted
                admitted.append(pending)
        unread |= {pending.key for pending, (code, _) in loose.items() if code == Code.UNAVAILABLE}
        if unread:
            self._refuse_behind(unread)
        return admitted

    async def _repeated(
        self, batch: list[Sending], refusals: Sequence[Refusal | None]
    ) -> dict[Sending, Appended]:
        """The answers to sends that are stored: they are not refused for what has changed since (their sender was removed, a
        device came), for their ✓ may have been lost. They are not appended either: what has just expired would be stored anew.
        Who never was a member learns nothing here either."""
        refused = [p for p, refusal in zip(batch, refusals, strict=True) if refusal and refusal[0] in _LATER]
        sends = [pending.send for pending in refused]
        stored = await self._store.stored([(send.sender, send.message_id) for send in sends])
        return {
            pending: first.again(pending.send)
            for pending, first in zip(refused, stored, strict=True)
            if first is not None
        }

    async def _baseless(self, batch: list[Sending]) -> set[Sending]:
        """Replies to what their sender may not know. What is on its way in this very batch may be answered."""
        replies = [pending for pending in batch if pending.reply_to]
        if not replies:
            return set()
        here = {(pending.send.conversation, pending.send.message_id) for pending in batch}
        replies = [p for p in replies if (p.send.conversation, p.reply_to) not in here]
        known = await self._store.knows(
            [(p.send.conversation, p.send.sender, p.reply_to or "") for p in replies]
        )
        return {pending for pending, one in zip(replies, known, strict=True) if not one}

    def _answer(self, pending: Sending, appended: Appended, events: list[Event]) -> None:
        session, send = pending.session, pending.send
        outcome, seq, at = appended.outcome, appended.seq, appended.at
        if outcome is Outcome.STORED or outcome is Outcome.DUPLICATE:
            session.sending -= 1
            duplicate = outcome is Outcome.DUPLICATE
            if not duplicate:
                # First: whatever happens below, it is fanned out.
                logged = _logged(send, seq, at, appended.until)
                if pending.request is not None:
                    logged.request = bool(pending.request.unaccepted - {send.sender})
                events.append(event_of(logged, pending.group, appended.withheld))
                session.first_own.setdefault(send.conversation, seq)
                if type(send) is not Amendment:  # who reacts has not read everything up to there
                    self.noted(pending)
                    self._receipts.sent(send.conversation, send.sender, seq)
                    if pending.group:
                        self._counts.sent(send.conversation, send.sender, seq)
            if type(send) is Amendment and send.kind == "delete":
                # A repetition too: who was to let the file go may have died behind the first one.
                self._attachments.deleted(send.conversation, send.target)
            session.send(
                frames.StatusUpdate(
                    conversation_id=send.conversation,
                    status="queued" if pending.group and self._fanout.lags(send.conversation) else "sent",
                    message_id=send.message_id,
                    seq=seq,
                    timestamp=at,
                    duplicate=duplicate,
                    ref=pending.ref,
                )
            )
            if duplicate:
                metrics.refused("duplicate", send.conversation)
            if send.answers and pending.request is not None:
                for other in pending.request.current - {send.sender}:
                    self.accepted(send.conversation, send.sender, other)
        elif outcome is Outcome.CONFLICT:
            self._refuse(pending, Code.CONFLICT, "this messageId was used for another message")
        elif outcome is Outcome.OUT_OF_ORDER:
            self._refuse(
                pending,
                Code.OUT_OF_ORDER,
                "seqNum is not the next of this device",
                {"expected": appended.expected},
            )
        elif outcome in _REFUSED:
            self._refuse(pending, *_REFUSED[outcome])
        else:
            self._refuse(pending, Code.NOT_FOUND, "there is no such conversation")

    def _refuse(
        self, pending: Sending, code: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        pending.session.sending -= 1
        metrics.refused(code, pending.send.conversation)
        refuse(pending.session, code, message, pending.send.message_id, pending.ref, details=details)


def _amendments_last(batch: list[Sending]) -> list[Sending]:
    """Messages first, so that the store numbers them at once; what a device sent behind its amendment stays behind it.

    Between devices a batch has no order that anybody saw.
    """
    if not any(type(pending.send) is Amendment for pending in batch):
        return batch
    messages: list[Sending] = []
    behind: list[Sending] = []
    held: set[tuple[str, str]] = set()
    for pending in batch:
        if type(pending.send) is Amendment or pending.key in held:
            held.add(pending.key)
            behind.append(pending)
        else:
            messages.append(pending)
    return messages + behind


def _logged(send: Send, seq: int, at: int, until: int) -> Logged:
    return Logged(
        send.conversation,
        seq,
        0,
        send.sender,
        send.device,
        send.message_id,
        send.kind,
        send.content,
        send.sent_at,
        at,
        send.seq_num,
        send.extra,
        send.envelopes,
        until=until,
    )


def refuse(
    session: Session,
    code: str,
    message: str,
    message_id: str | None = None,
    ref: str = "",
    *,
    retry_after_ms: int | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Write an error frame."""
    metrics.error(code)
    session.send(
        frames.Error(
            code=code,
            message=message,
            retryable=code in RETRYABLE,
            ref=ref,
            message_id=message_id or None,
            retry_after_ms=retry_after_ms,
            details=details,
        )
    )


def _refusal(known: Conversation | None, pending: Sending) -> Refusal | None:
    """Code and text for a send that this list does not allow."""
    sender = pending.send.sender
    if known is None or not is_member(known, sender):
        if known is not None and was_member(known, sender):
            return Code.NOT_MEMBER, "you have left this conversation"
        return Code.NOT_FOUND, "there is no such conversation"
    if pending.recipients and not all(is_member(known, user) for user in pending.recipients):
        return Code.BAD_REQUEST, "recipientIds names somebody who is not a member"
    listens = known.speakers is not None and sender not in known.speakers
    if listens and pending.send.kind not in _LISTENERS_TOO:
        return Code.FORBIDDEN, "only admins may send to this group"
    if pending.seal is not None and pending.seal.member_hash not in ("", known.member_hash):
        return Code.MEMBER_MISMATCH, "the members are others"
    return None
