"""The store on PostgreSQL, over an asynchronous pool. The operations are in the modules of this package, one a noun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import psycopg
from psycopg import errors as pg
from psycopg_pool import AsyncConnectionPool

from delivery.store import (
    attention,
    devices,
    flags,
    forget,
    log,
    outbox,
    positions,
    requests,
    retention,
    roster,
    unread,
    withheld,
)
from delivery.store import changes as member_changes
from delivery.store.errors import Busy, Clash, Locked
from delivery.store.interface import Unavailable
from delivery.store.libpq import Channel
from delivery.store.operation import Operation, Query, Rows
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

T = TypeVar("T")


class PostgresStore:
    """Implements :class:`delivery.store.interface.Store`.

    Every operation but :meth:`link_device` and :meth:`unlink_device` is one statement of its own transaction (one round
    trip) on a connection of the pool, which is put into autocommit mode. :meth:`append` keeps a connection of the pool for
    itself (:class:`Channel`), unless it is the pool's only one; :meth:`close` gives it back. ``lock_ms``: longest wait of an
    append for a conversation that another transaction holds.
    """

    def __init__(self, pool: AsyncConnectionPool, lock_ms: int = 1_000) -> None:
        self._pool = pool
        self._lock_ms = lock_ms
        self._channel = Channel(pool)

    async def close(self) -> None:
        """Before the pool is closed: give its connection back."""
        await self._channel.close()

    async def _run(self, operation: Operation[T], transaction: bool = False, append: bool = False) -> T:
        try:
            if append and not self._channel.busy and self._pool.max_size > 1:
                return await _drive(self._channel.rows, operation)
            async with self._pool.connection() as connection:
                if not connection.autocommit:
                    await connection.set_autocommit(True)
                rows = partial(_execute, connection)
                if transaction:
                    async with connection.transaction():
                        return await _drive(rows, operation)
                return await _drive(rows, operation)
        except Locked as error:
            raise Busy(str(error) or type(error).__name__) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        finally:
            operation.close()

    # -- log
    async def append(self, writer: str, sends: Sequence[Send], now: int) -> AppendResult:
        return await self._run(log.append(writer, sends, now, self._lock_ms, alone=True), append=True)

    async def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        return await self._run(log.pages(requests))

    async def history(self, conversation: str, user: str, after: int, before: int, limit: int) -> Page:
        return await self._run(log.history(conversation, user, after, before, limit))

    async def find(self, conversation: str, message_id: str) -> int:
        return await self._run(log.find(conversation, message_id))

    async def knows(self, asked: Sequence[tuple[str, str, str]]) -> list[bool]:
        return await self._run(log.knows(asked))

    async def stored(self, asked: Sequence[tuple[str, str]]) -> list[First | None]:
        return await self._run(log.stored(asked))

    # -- blocks
    async def withhold(self, member: str, sender: str, on: bool, now: int) -> str:
        return await self._run(withheld.withhold(member, sender, on, now))

    async def silent(self, users: Sequence[str]) -> dict[str, frozenset[str]]:
        return await self._run(withheld.silent(users))

    async def withheld_after(self, conversations: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
        return await self._run(withheld.withheld_after(conversations))

    # -- roster
    async def ensure_direct(self, a: str, b: str, new_id: str, now: int) -> str:
        return await self._run(roster.ensure_direct(a, b, new_id, now))

    async def request(self, conversation: str, members: Sequence[str]) -> None:
        await self._run(requests.request(conversation, members))

    async def accept(
        self, user: str, now: int, *, conversations: Sequence[str] = (), others: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        return await self._run(requests.accept(user, now, conversations, others))

    async def conversations(self, ids: Sequence[str]) -> dict[str, Conversation]:
        return await self._run(roster.conversations(ids))

    async def create_group(self, conversation: str, now: int) -> None:
        await self._run(member_changes.create_group(conversation, now))

    async def change(
        self, writer: str, conversation: str, sender: str, changes: Sequence[Change], now: int
    ) -> Changed:
        return await self._run(
            member_changes.change(writer, conversation, sender, changes, now), transaction=True
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
        return await self._run(
            member_changes.set_timer(writer, conversation, sender, message_id, seconds, extra, now)
        )

    async def roster_heads(self, ids: Sequence[str]) -> dict[str, RosterHead]:
        return await self._run(member_changes.roster_heads(ids))

    async def listed(self, user: str, limit: int, after: str = "") -> list[ListedConversation]:
        return await self._run(roster.listed(user, limit, after))

    async def direct_peers(self, user: str, limit: int, after: str) -> list[str]:
        return await self._run(roster.direct_peers(user, limit, after))

    async def badges(self, users: Sequence[str], now: int) -> dict[str, int]:
        return await self._run(unread.badges(users, now))

    async def attention(self, asked: Sequence[tuple[str, str, int]]) -> list[Attention]:
        return await self._run(attention.attention(asked))

    # -- flags
    async def flags(self, user: str, conversation: str) -> OwnFlags | None:
        return await self._run(flags.flags(user, conversation))

    async def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        return await self._run(flags.set_flags(user, conversation, new, now))

    async def forget_flags(self, user: str) -> None:
        await self._run(flags.forget_flags(user))

    # -- the end of a user
    async def forget_user(
        self, user: str, devices: Sequence[str], ended_at: int, now: int, limit: int = 100
    ) -> Forgotten:
        del now  # stores that stamp what they write need it
        return await self._run(forget.forget_user(user, devices, ended_at, limit), transaction=True)

    # -- devices
    async def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        await self._run(devices.link(user, device, now, since), transaction=True)

    async def unlink_device(self, user: str, device: str, now: int) -> None:
        await self._run(devices.unlink(user, device, now), transaction=True)

    async def devices(self, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
        return await self._run(devices.devices(users))

    # -- positions and receipts
    async def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        return await self._run(positions.positions(user, device, conversations))

    async def behind(self, user: str, device: str) -> list[Behind]:
        return (await self.behind_each([(user, device)]))[0]

    async def behind_each(self, asked: Sequence[tuple[str, str]]) -> list[list[Behind]]:
        return await self._run(positions.behind(asked))

    async def save(self, acks: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int) -> None:
        await self._run(positions.save(acks, receipts, now, alone=True))

    async def receipts(self, conversations: Sequence[str], user: str, since: int) -> list[Receipt]:
        return await self._run(positions.receipts(conversations, user, since))

    async def receipt_counts(self, events: Sequence[tuple[str, str, int]]) -> list[ReceiptCount]:
        return await self._run(positions.receipt_counts(events))

    async def message_receipts(
        self, conversation: str, user: str, seq: int, after: str, limit: int
    ) -> list[MemberReceipt]:
        return await self._run(positions.message_receipts(conversation, user, seq, after, limit))

    # -- outbox
    async def outbox(self, writer: str, epoch: str, now: int, limit: int = 1000) -> list[OutboxRow]:
        return await self._run(outbox.outbox(writer, epoch, now, limit))

    async def outbox_done(self, writer: str, epoch: str, row: int, now: int) -> None:
        await self._run(outbox.done(writer, epoch, row, now))

    async def outbox_writers(self, now: int, epoch: str | None = None) -> list[str]:
        return await self._run(outbox.writers(now, epoch))

    async def trim_outbox(self, now: int) -> int:
        return await self._run(outbox.trim(now))

    # -- retention
    async def vanish(self, now: int, limit: int = 1000) -> int:
        return await self._run(retention.vanish(now, limit))

    async def expire(self, now: int, retention_ms: int, limit: int = 5000) -> int:
        return await self._run(retention.expire(now, retention_ms, limit))

    async def overdue(self, kind: str, before: int, limit: int = 10_000) -> int:
        return await self._run(retention.overdue(kind, before, limit))


async def _drive(run: Callable[[Query], Awaitable[Rows]], operation: Operation[T]) -> T:
    try:
        query = next(operation)
        while True:
            try:
                rows = await run(query)
            except (pg.UniqueViolation, pg.DeadlockDetected) as error:
                if not query.guarded:
                    raise
                query = operation.throw(Clash(str(error)))
            except pg.LockNotAvailable as error:
                query = operation.throw(Locked(str(error)))
            else:
                query = operation.send(rows)
    except StopIteration as end:
        return end.value


async def _execute(connection: psycopg.AsyncConnection, query: Query) -> Rows:
    cursor = await connection.execute(query.sql, query.params, prepare=True, binary=True)
    return await cursor.fetchall() if cursor.description else []
