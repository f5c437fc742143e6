"""The one read path: reconnect, backlog, hole and disaster all page the log after the device's positions.

A sync is a :class:`Run` on the session. It sends one batch at a time, the next only after the ack of the last, so a client
that withholds an ack gets nothing more. What comes in meanwhile is noted by its seq and read before the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

import hiredis

from delivery.drain import Drain
from delivery.inbox import Inbox
from delivery.reader import Reader
from delivery.receipts import RECEIPT_SLACK_MS, Receipts, send_held, send_receipts
from delivery.runs import Awaited, Run
from delivery.session import Session, State
from delivery.silence import Silence
from delivery.store.interface import Store, Unavailable
from delivery.store.values import Logged, Page, PageRequest
from delivery.view import item_for, page_bytes
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire import frames
from whatsapp.wire.errors import Code, error_frame

log = logging.getLogger(__name__)


class Sync:
    """Starts runs and carries them out. ``drain`` (optional) serves long backlogs from the Celery task's stream."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        reader: Reader,
        receipts: Receipts,
        silence: Silence,
        drain: Drain | None = None,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._reader = reader
        self._receipts = receipts
        self._silence = silence
        self._drain = drain
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, session: Session, have: Mapping[str, int], limit: int, since: int, ref: str = "") -> None:
        """Begin a sync; one that is under way is given up for it, and told so if it has a ``ref`` of its own."""
        run = Run(max(1, min(limit, 100)), ref)
        replaced: Run | None = session.sync
        if replaced is not None:
            replaced.wake.set()
            if replaced.ref and replaced.ref != ref:
                session.send(
                    error_frame(Code.CONFLICT, "a newer sync took the place of this one", ref=replaced.ref)
                )
        run.since = since
        session.sync = run
        session.state = State.SYNCING
        task = asyncio.get_running_loop().create_task(self._run(session, run, have))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ack(self, session: Session, positions: Mapping[str, int]) -> None:
        """Acknowledge: counts up to what was sent to this session, unknown ids are ignored (R10)."""
        for conversation, seq in positions.items():
            sent = session.sent.get(conversation)
            before = -1 if sent is None else sent
            if seq > before and conversation in session.first_own and not faults.off("early"):
                session.early[conversation] = seq, before
            if sent is None:
                continue
            run: Run | None = session.sync
            awaited = run.awaited if run is not None else None
            if run is not None and awaited is not None and awaited.conversation == conversation:
                if seq >= awaited.last:
                    # The events of the batch are stored, and through passes what follows them (R12).
                    run.awaited = None
                    self._acked(session, conversation, awaited.through, awaited.last)
                    run.wake.set()
                else:
                    self._acked(session, conversation, seq, seq)
                continue
            up_to = min(seq, sent)
            self._acked(session, conversation, up_to, up_to)

    def acked(self, session: Session, conversation: str, seq: int) -> None:
        """Count an ack that came before it was known that ``seq`` was sent."""
        self._acked(session, conversation, seq, seq)

    def _acked(self, session: Session, conversation: str, through: int, delivered: int) -> None:
        if through > session.acked.get(conversation, -1):
            self._receipts.acked(session, conversation, through, delivered)

    async def _run(self, session: Session, run: Run, have: Mapping[str, int]) -> None:
        delay = 0.2
        prepared = False
        while session.sync is run and session.state is State.SYNCING:
            try:
                if not prepared:
                    await self._prepare(session, run, have)
                    prepared = True
                while self._drain is not None and run.remaining(session) > LIMITS.drain_events:
                    if not await self._drain.serve(session, run, self._send):
                        break
                await self._page_all(session, run)
                if (
                    session.sync is run
                    and session.state is State.SYNCING
                    and await self._complete(session, run)
                ):
                    return
            except Unavailable:
                # The client waits for its backlog; the socket stays and goes on when the store is back.
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            except Exception:
                log.exception("a sync failed")
                session.outlet.close(1011, "sync failed")
                return

    async def _prepare(self, session: Session, run: Run, have: Mapping[str, int]) -> None:
        """Find what has something new and where to begin reading."""
        dirty: Mapping[str, int] | None = None
        if session.complete:
            try:
                dirty = await self._inbox.dirty(session.user, session.device)
            except (HotUnavailable, hiredis.ReplyError):
                dirty = None
        if dirty is None:
            # No hot node to ask: the durable comparison says the same (R5).
            dirty = {b.conversation: b.head for b in await self._store.behind(session.user, session.device)}
        wanted = list(dict.fromkeys([*dirty, *have]))
        known = await self._reader.positions(session.user, session.device, wanted) if wanted else {}
        if session.sync is not run:
            return  # a newer sync has begun: what this one would set is its business
        void: dict[str, int] = {}
        for conversation in wanted:
            position = known.get(conversation)
            if position is None:
                continue  # not a member: as if it did not exist
            acked = max(position.acked, session.acked.get(conversation, 0))
            session.acked[conversation] = acked
            if position.head <= acked and conversation in dirty:
                void[conversation] = dirty[conversation]
            after = acked
            if conversation in have:
                told = have[conversation]
                if told > max(position.head, acked):
                    session.send(
                        error_frame(
                            Code.RESET,
                            "you have more of this conversation than the server: begin it again",
                            ref=run.ref,
                            details={"conversationId": conversation},
                        )
                    )
                    told = 0
                elif told > acked:
                    self._receipts.acked(session, conversation, told, told)
                after = told
                run.named[conversation] = position.head
            session.sent[conversation] = after
            session.own.pop(conversation, None)
            session.early.pop(conversation, None)
            head = max(position.head, run.heads.get(conversation, 0))
            if after < head:
                run.heads[conversation] = head
                if conversation not in run.queue:
                    run.queue.append(conversation)
        if void:
            # Marks, maybe above the last event that is owed, of which the log read after them says that nothing waits: no
            # ack would ever take them away (R12).
            with contextlib.suppress(HotUnavailable, hiredis.ReplyError):
                await self._inbox.clean({(session.user, session.device): void})

    async def _page_all(self, session: Session, run: Run) -> None:
        while run.queue and session.sync is run and session.state is State.SYNCING:
            conversation = run.queue[0]
            if conversation not in session.sent:
                position = await self._reader.position(session.user, session.device, conversation)
                if position is None:
                    run.queue.remove(conversation)
                    continue
                session.sent[conversation] = position.acked
                session.early.pop(conversation, None)
                session.acked.setdefault(conversation, position.acked)
            wanted = run.heads.get(conversation, 0)
            started = asyncio.get_running_loop().time()
            page = await self._reader.page(
                PageRequest(
                    conversation,
                    session.user,
                    session.sent[conversation],
                    run.limit,
                    page_bytes(session.codec),
                )
            )
            metrics.paged("sync_page", started)
            if session.sync is not run:
                return
            through = max(page.through, session.sent[conversation])
            # What was heard of while the page was read may be younger than the page: then it is read again.
            if through >= page.head and run.heads[conversation] == wanted:
                run.heads[conversation] = min(wanted, through)
            if through >= run.heads.get(conversation, 0):
                run.queue.remove(conversation)
            # What this session sent itself it was told by the ✓; the client might not ack it once more, unless it asks for it.
            first_own = session.first_own.get(conversation, 1 << 53)
            first_own = max(first_own, run.named.get(conversation, 0) + 1)
            events = [e for e in page.events if e.device != session.device or e.seq < first_own]
            if events:
                data = self._encode(session, run, conversation, events, page.head, through)
                await self._send(session, run, data, conversation, events[-1].seq, through)
            else:
                self._passed(session, run, conversation, page, through)

    def _encode(
        self, session: Session, run: Run, conversation: str, events: list[Logged], head: int, through: int
    ) -> bytes:
        codec = session.codec
        session.sent[conversation] = through
        return codec.encode_batch(
            conversation,
            [codec.encode_item(item_for(logged, session.user, session.device)) for logged in events],
            through,
            head,
            run.remaining(session),
        )

    def _passed(self, session: Session, run: Run, conversation: str, page: Page, through: int) -> None:
        """Nothing is owed up to ``through``: the position follows, and a client that asked is told."""
        session.sent[conversation] = through
        if through > session.acked.get(conversation, 0):
            session.acked[conversation] = through
            self._receipts.passed(session, conversation, through)
        if conversation in run.named:
            session.outlet.write(
                session.codec.encode_batch(conversation, [], through, page.head, run.remaining(session))
            )

    async def _send(
        self, session: Session, run: Run, data: bytes, conversation: str, last: int, through: int
    ) -> None:
        """Write a batch and wait for its ack (or for the end of the run)."""
        session.sent[conversation] = through
        run.awaited = Awaited(conversation, last, through)
        run.wake.clear()
        session.outlet.write(data)
        faults.point("sync-batch")
        while run.awaited is not None and session.sync is run and session.state is State.SYNCING:
            await run.wake.wait()
            run.wake.clear()

    async def _complete(self, session: Session, run: Run) -> bool:
        """False if something came in at the last moment."""
        await self._silence.learn(session)
        changed = await self._silence.stored(session.user, [], max(0, run.since - RECEIPT_SLACK_MS))
        if session.sync is not run or session.state is not State.SYNCING:
            return True  # a newer sync, or nobody
        if run.queue:
            return False
        session.send(frames.SyncComplete(epoch=session.epoch, server_time=clock.now_ms(), ref=run.ref))
        session.state = State.LIVE
        session.sync = None
        send_receipts(session, changed)
        send_held(session)
        return True
