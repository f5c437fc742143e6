"""The store on Cassandra. The operations are in the modules of this package, one a noun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from delivery.store import door
from delivery.store.cassandra import (
    attention,
    blocks,
    devices,
    flags,
    forget,
    fsck,
    fsck_engine,
    fsck_rows,
    listed,
    log,
    outbox,
    overview,
    pages,
    receipts,
    requests,
    retention,
    roster,
    sample,
    search,
    trace,
    unread,
    vanishing,
)
from delivery.store.cassandra import changes as member_changes
from delivery.store.cassandra.copied import HotDocuments
from delivery.store.cassandra.copies import Copies
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.leftovers import Leftovers
from delivery.store.cassandra.positions import Positions
from delivery.store.cassandra.rows import OutboxRows
from delivery.store.cassandra.session import Cassandra
from delivery.store.values import (
    AppendResult,
    Attention,
    Behind,
    Change,
    Changed,
    Conversation,
    DeviceRow,
    First,
    Flags,
    Forgotten,
    ListedConversation,
    MemberReceipt,
    OutboxRow,
    OwnFlags,
    Page,
    PageRequest,
    Position,
    PositionWrite,
    Receipt,
    ReceiptCount,
    ReceiptWrite,
    RosterHead,
    Send,
    TimerSet,
)
from whatsapp.infra import residency
from whatsapp.infra.hot import Hot

#: Copies that are not used are looked for this often, by a process that appends.
COOL_EVERY_S = 10.0


class CassandraStore:
    """Implements :class:`delivery.store.interface.Store`. ``db`` is opened by the process in the event loop that uses it, and
    closed by :meth:`close`. ``lock_ms``: longest wait for a conversation that another operation holds. ``hot``: where copies of
    state documents are made (:mod:`.copies`), opened and closed likewise; without it every number costs a conditional write, and
    a conversation that has a copy is ``Unavailable``. ``eager``, ``makes``: see
    :class:`HotDocuments`."""

    def __init__(
        self,
        db: Cassandra,
        lock_ms: int = 1_000,
        hot: Hot | None = None,
        *,
        eager: bool = False,
        makes: bool = True,
    ) -> None:
        self._db = db
        self._lock_ms = lock_ms
        self._hot = hot
        self._documents = (
            Documents(db, HotDocuments(db, Leases(db, hot), Copies(hot), eager=eager, makes=makes))
            if hot is not None
            else Documents(db)
        )
        self._outbox = OutboxRows()
        self._cool_at = time.monotonic() + COOL_EVERY_S
        self._cooling: asyncio.Task[None] | None = None
        there = self._documents.hot
        self._leftovers = (
            Leftovers(self._documents, there, hot) if there is not None and hot is not None else None
        )
        self._positions = Positions(db, self._documents)

    async def open(self) -> CassandraStore:
        """Raises :class:`Unavailable` when no node of Cassandra answers; the first operation that one does answer opens it."""
        if self._hot is not None:
            await self._hot.start()
        await self._db.open()
        return self

    async def close(self) -> None:
        if self._cooling is not None:
            self._cooling.cancel()
        if self._hot is not None:
            await self._hot.stop()
        await self._db.close()

    # -- log
    async def append(self, writer: str, sends: Sequence[Send], now: int) -> AppendResult:
        door.check_sends(sends)
        idle = self._cooling is None or self._cooling.done()
        if self._leftovers is not None and idle and time.monotonic() > self._cool_at:
            self._cool_at = time.monotonic() + COOL_EVERY_S
            self._cooling = asyncio.get_running_loop().create_task(self._cool())
        return await log.append(self._db, self._documents, self._outbox, self._answered, writer, sends, now)

    async def _cool(self) -> None:
        await self._documents.cool()
        if self._leftovers is not None:
            await self._leftovers.once()

    async def _answered(self, pairs: Sequence[tuple[str, str]], now: int) -> None:
        for conversation, user in pairs:
            await self.accept(user, now, conversations=[conversation])

    async def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        return await pages.pages(self._db, self._documents, requests)

    async def history(self, conversation: str, user: str, after: int, before: int, limit: int) -> Page:
        return await pages.history(self._db, self._documents, conversation, user, after, before, limit)

    async def find(self, conversation: str, message_id: str) -> int:
        return await pages.find(self._db, self._documents, conversation, message_id)

    async def knows(self, asked: Sequence[tuple[str, str, str]]) -> list[bool]:
        return await pages.knows(self._db, self._documents, asked)

    async def stored(self, asked: Sequence[tuple[str, str]]) -> list[First | None]:
        return await pages.stored(self._db, self._documents, asked)

    # -- blocks
    async def withhold(self, member: str, sender: str, on: bool, now: int) -> str:
        return await blocks.withhold(self._db, self._documents, member, sender, on, now)

    async def silent(self, users: Sequence[str]) -> dict[str, frozenset[str]]:
        return await blocks.silent(self._db, self._documents, users)

    async def withheld_after(self, conversations: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
        return await blocks.withheld_after(self._documents, conversations)

    # -- roster
    async def ensure_direct(self, a: str, b: str, new_id: str, now: int) -> str:
        return await self.open_direct(a, b, new_id, now, (), ())

    async def open_direct(
        self, a: str, b: str, new_id: str, now: int, unaccepted: Sequence[str], blocked: Sequence[str]
    ) -> str:
        """See :class:`delivery.store.pending.Elsewhere`."""
        if not residency.holds(new_id):
            (found,) = await roster.directs(self._db, [(a, b)])
            if found:
                return found
            door.check(new_id)
        return await roster.open_direct(self._db, self._documents, a, b, new_id, now, unaccepted, blocked)

    async def directs(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """See :class:`delivery.store.pending.Elsewhere`."""
        return await roster.directs(self._db, pairs)

    async def unaccepted(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """See :class:`delivery.store.pending.Elsewhere`."""
        return await requests.unaccepted(self._db, self._documents, pairs)

    async def request(self, conversation: str, members: Sequence[str]) -> None:
        await requests.request(self._documents, conversation, members)

    async def accept(
        self, user: str, now: int, *, conversations: Sequence[str] = (), others: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        return await requests.accept(self._db, self._documents, user, now, conversations, others)

    async def conversations(self, ids: Sequence[str]) -> dict[str, Conversation]:
        return await roster.conversations(self._db, self._documents, ids)

    async def create_group(self, conversation: str, now: int) -> None:
        door.check(conversation)
        await member_changes.create_group(self._documents, conversation, now)

    async def change(
        self, writer: str, conversation: str, sender: str, changes: Sequence[Change], now: int
    ) -> Changed:
        door.check_changes(conversation, changes)
        return await member_changes.change(
            self._db, self._documents, self._outbox, writer, conversation, sender, changes, now
        )

    async def set_timer(
        self,
        writer: str,
        conversation: str,
        sender: str,
        message_id: str,
        seconds: int,
        extra: bytes,
        now: int,
    ) -> TimerSet | None:
        door.check(conversation)
        return await member_changes.set_timer(
            self._db,
            self._documents,
            self._outbox,
            writer,
            conversation,
            sender,
            message_id,
            seconds,
            extra,
            now,
        )

    async def roster_heads(self, ids: Sequence[str]) -> dict[str, RosterHead]:
        return await member_changes.roster_heads(self._documents, ids)

    async def listed(self, user: str, limit: int, after: str = "") -> list[ListedConversation]:
        return await listed.listed(self._db, self._documents, user, limit, after)

    async def direct_peers(self, user: str, limit: int, after: str) -> list[str]:
        return await roster.direct_peers(self._db, user, limit, after)

    async def badges(self, users: Sequence[str], now: int) -> dict[str, int]:
        return await unread.badges(self._db, self._documents, users, now)

    async def attention(self, asked: Sequence[tuple[str, str, int]]) -> list[Attention]:
        return await attention.attention(self._db, asked)

    # -- flags
    async def flags(self, user: str, conversation: str) -> OwnFlags | None:
        return await flags.flags(self._db, user, conversation)

    async def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        door.check(conversation)
        return await flags.set_flags(self._db, user, conversation, new, now)

    async def forget_flags(self, user: str) -> None:
        await flags.forget_flags(self._db, user)

    # -- the end of a user
    async def forget_user(
        self, user: str, devices: Sequence[str], ended_at: int, now: int, limit: int = 100
    ) -> Forgotten:
        return await forget.forget_user(self._db, self._documents, user, devices, ended_at, now, limit)

    # -- devices
    async def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        await devices.link(self._db, self._documents, user, device, now, since)

    async def unlink_device(self, user: str, device: str, now: int) -> None:
        await devices.unlink(self._db, self._documents, user, device, now)

    async def devices(self, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
        return await devices.devices(self._db, users)

    # -- positions and receipts
    async def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        return await self._positions.positions(user, device, conversations)

    async def behind(self, user: str, device: str) -> list[Behind]:
        return await self._positions.behind(user, device)

    async def behind_each(self, asked: Sequence[tuple[str, str]]) -> list[list[Behind]]:
        return list(await asyncio.gather(*[self._positions.behind(*one) for one in asked]))

    async def save(
        self, positions: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int
    ) -> None:
        await self._positions.save(*door.of_here(positions, receipts), now)

    async def receipts(self, conversations: Sequence[str], user: str, since: int) -> list[Receipt]:
        return await receipts.receipts(self._db, self._documents, conversations, user, since)

    async def receipt_counts(self, events: Sequence[tuple[str, str, int]]) -> list[ReceiptCount]:
        return await receipts.receipt_counts(self._db, self._documents, events)

    async def message_receipts(
        self, conversation: str, user: str, seq: int, after: str, limit: int
    ) -> list[MemberReceipt]:
        return await receipts.message_receipts(
            self._db, self._documents, conversation, user, seq, after, limit
        )

    # -- outbox
    async def outbox(self, writer: str, epoch: str, now: int, limit: int = 1000) -> list[OutboxRow]:
        return await outbox.outbox(self._db, writer, epoch, now, limit)

    async def outbox_done(self, writer: str, epoch: str, row: int, now: int) -> None:
        await outbox.done(self._db, writer, epoch, row, now)

    async def outbox_writers(self, now: int, epoch: str | None = None) -> list[str]:
        return await outbox.writers(self._db, now, epoch)

    async def trim_outbox(self, now: int) -> int:
        return await outbox.trim(self._db, now)

    # -- retention
    async def vanish(self, now: int, limit: int = 1000) -> int:
        return await vanishing.vanish(self._db, self._documents, now, limit)

    async def expire(self, now: int, retention_ms: int, limit: int = 5000) -> int:
        return await retention.expire(self._db, self._documents, now, retention_ms, limit)

    async def overdue(self, kind: str, before: int, limit: int = 10_000) -> int:
        return await retention.overdue(self._db, kind, before, limit)

    # -- for operators
    async def traced(self, question: str, *args: Any) -> Any:
        """The answer to a question of :mod:`delivery.store.trace` or :mod:`delivery.store.cassandra.overview`."""
        return await _QUESTIONS[question](self._db, self._documents, *args)

    async def inspected(self, question: str, *args: Any) -> Any:
        """The answer to a question of fsck."""
        return await _INSPECTIONS[question](self._db, self._documents, *args)


_INSPECTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "conversations": fsck.walk,
    "recent": fsck.recent,
    "look": fsck.look,
    "settle": fsck.settle,
    "walk": fsck_rows.walk,
    "examine": fsck_rows.examine,
    "mend": fsck_rows.mend,
    "users": fsck_engine.users,
    "devices": fsck_engine.devices,
    "linked": fsck_engine.linked,
    "blocked": fsck_engine.blocked,
    "have_direct": fsck_engine.have_direct,
    "rosters": fsck_engine.rosters,
    "owed": fsck_engine.owing,
    "member_heads": fsck_engine.member_heads,
    "tables": search.tables,
    "search": search.search,
    "sample": sample.sample,
}
_QUESTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    question.__name__: question
    for question in (
        trace.by_message,
        trace.by_seq,
        trace.head,
        trace.members,
        trace.outbox,
        trace.watermarks,
        trace.devices,
        trace.receipts,
        overview.answers,
        overview.nodes,
        overview.active,
        overview.of_member,
        overview.summaries,
        overview.sizes,
    )
}
