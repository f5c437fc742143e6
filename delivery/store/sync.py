"""The same operations for Django code: synchronous, on Django's own connection, inside its transaction.

Where the log is elsewhere, :data:`store` is a :class:`delivery.store.deferred.DeferredStore` instead: whatever is changed comes
to pass right after the commit, and what a change returns says less.

Call them within ``transaction.atomic()``; an append is the last statement before the commit, because it holds the locks of the
conversations until then. Nothing is durable before that commit, :meth:`SyncStore.save` included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, transaction
from django.db import utils as db
from psycopg import errors as pg

from delivery.store import (
    attention,
    chosen,
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


class SyncStore:
    """The methods of :class:`delivery.store.interface.Store` without ``await``. ``using``: a database alias of Django."""

    def __init__(self, using: str = "default", lock_ms: int = 0) -> None:
        self._using = using
        self._lock_ms = lock_ms

    def _run(self, operation: Operation[T], transactional: bool = False) -> T:
        try:
            if transactional:
                with transaction.atomic(using=self._using):
                    return self._drive(operation)
            return self._drive(operation)
        except Locked as error:
            raise Busy(str(error) or type(error).__name__) from error
        except (db.OperationalError, db.InterfaceError, db.InternalError) as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        finally:
            operation.close()

    def _drive(self, operation: Operation[T]) -> T:
        try:
            query = next(operation)
            while True:
                try:
                    rows = self._rows(query)
                except (Clash, Locked) as error:
                    query = operation.throw(error)
                else:
                    query = operation.send(rows)
        except StopIteration as end:
            return end.value

    def _rows(self, query: Query) -> Rows:
        if not query.guarded:
            return self._fetch(query)
        try:
            with transaction.atomic(using=self._using):
                return self._fetch(query)
        except (db.IntegrityError, db.OperationalError) as error:
            if isinstance(error.__cause__, (pg.UniqueViolation, pg.DeadlockDetected)):
                raise Clash from error
            if isinstance(error.__cause__, pg.LockNotAvailable):
                raise Locked from error
            raise

    def _fetch(self, query: Query) -> Rows:
        with connections[self._using].cursor() as cursor:
            cursor.execute(query.sql, query.params)
            return cursor.fetchall() if cursor.description else []

    def ask(self, operation: Operation[T]) -> T:
        """Run an operation that only Django code needs, such as those of :mod:`delivery.store.trace`."""
        return self._run(operation)

    def settle(self, subject: str) -> None:
        """Nothing is written down here: what a transaction changes is changed with its commit."""

    # -- log
    def append(self, writer: str, sends: Sequence[Send], now: int) -> AppendResult:
        return self._run(log.append(writer, sends, now, self._lock_ms, alone=False))

    def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        return self._run(log.pages(requests))

    def history(self, conversation: str, user: str, after: int, before: int, limit: int) -> Page:
        return self._run(log.history(conversation, user, after, before, limit))

    def find(self, conversation: str, message_id: str) -> int:
        return self._run(log.find(conversation, message_id))

    def knows(self, asked: Sequence[tuple[str, str, str]]) -> list[bool]:
        return self._run(log.knows(asked))

    def stored(self, asked: Sequence[tuple[str, str]]) -> list[First | None]:
        return self._run(log.stored(asked))

    # -- blocks
    def withhold(self, member: str, sender: str, on: bool, now: int) -> str:
        return self._run(withheld.withhold(member, sender, on, now))

    def hold_direct(self, a: str, b: str) -> None:
        """Until the end of the transaction :meth:`withhold` between these two waits."""
        self._run(withheld.hold_direct(a, b))

    def silent(self, users: Sequence[str]) -> dict[str, frozenset[str]]:
        return self._run(withheld.silent(users))

    def withheld_after(self, conversations: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
        return self._run(withheld.withheld_after(conversations))

    # -- roster
    def ensure_direct(self, a: str, b: str, new_id: str, now: int) -> str:
        return self._run(roster.ensure_direct(a, b, new_id, now))

    def request(self, conversation: str, members: Sequence[str]) -> None:
        self._run(requests.request(conversation, members))

    def accept(
        self, user: str, now: int, *, conversations: Sequence[str] = (), others: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        return self._run(requests.accept(user, now, conversations, others))

    def conversations(self, ids: Sequence[str]) -> dict[str, Conversation]:
        return self._run(roster.conversations(ids))

    def create_group(self, conversation: str, now: int) -> None:
        self._run(member_changes.create_group(conversation, now))

    def change(
        self,
        writer: str,
        conversation: str,
        sender: str,
        changes: Sequence[Change],
        now: int,
        then: Callable[[Changed], None] | None = None,
    ) -> Changed:
        """``then`` is called with the result after the commit."""
        changed = self._run(
            member_changes.change(writer, conversation, sender, changes, now), transactional=True
        )
        if then is not None:
            transaction.on_commit(lambda: then(changed), using=self._using)
        return changed

    def set_timer(
        self,
        writer: str,
        conversation: str,
        sender: str,
        message_id: str,
        seconds: int,
        extra: bytes,
        now: int,
        then: Callable[[TimerSet | None], None] | None = None,
    ) -> TimerSet | None:
        """``then`` is called with the result after the commit."""
        done = self._run(
            member_changes.set_timer(writer, conversation, sender, message_id, seconds, extra, now)
        )
        if then is not None:
            transaction.on_commit(lambda: then(done), using=self._using)
        return done

    def roster_heads(self, ids: Sequence[str]) -> dict[str, RosterHead]:
        return self._run(member_changes.roster_heads(ids))

    def listed(self, user: str, limit: int, after: str = "") -> list[ListedConversation]:
        return self._run(roster.listed(user, limit, after))

    def direct_peers(self, user: str, limit: int, after: str) -> list[str]:
        return self._run(roster.direct_peers(user, limit, after))

    def badges(self, users: Sequence[str], now: int) -> dict[str, int]:
        return self._run(unread.badges(users, now))

    def attention(self, asked: Sequence[tuple[str, str, int]]) -> list[Attention]:
        return self._run(attention.attention(asked))

    # -- flags
    def flags(self, user: str, conversation: str) -> OwnFlags | None:
        return self._run(flags.flags(user, conversation))

    def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        return self._run(flags.set_flags(user, conversation, new, now))

    def forget_flags(self, user: str) -> None:
        self._run(flags.forget_flags(user))

    # -- the end of a user
    def forget_user(
        self, user: str, devices: Sequence[str], ended_at: int, now: int, limit: int = 100
    ) -> Forgotten:
        del now  # stores that stamp what they write need it
        return self._run(forget.forget_user(user, devices, ended_at, limit), transactional=True)

    # -- devices
    def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        self._run(devices.link(user, device, now, since), transactional=True)

    def unlink_device(self, user: str, device: str, now: int) -> None:
        self._run(devices.unlink(user, device, now), transactional=True)

    def devices(self, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
        return self._run(devices.devices(users))

    # -- positions and receipts
    def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        return self._run(positions.positions(user, device, conversations))

    def behind(self, user: str, device: str) -> list[Behind]:
        return self.behind_each([(user, device)])[0]

    def behind_each(self, asked: Sequence[tuple[str, str]]) -> list[list[Behind]]:
        return self._run(positions.behind(asked))

    def save(self, acks: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int) -> None:
        self._run(positions.save(acks, receipts, now, alone=False))

    def receipts(self, conversations: Sequence[str], user: str, since: int) -> list[Receipt]:
        return self._run(positions.receipts(conversations, user, since))

    def receipt_counts(self, events: Sequence[tuple[str, str, int]]) -> list[ReceiptCount]:
        return self._run(positions.receipt_counts(events))

    def message_receipts(
        self, conversation: str, user: str, seq: int, after: str, limit: int
    ) -> list[MemberReceipt]:
        return self._run(positions.message_receipts(conversation, user, seq, after, limit))

    # -- outbox
    def outbox(self, writer: str, epoch: str, now: int, limit: int = 1000) -> list[OutboxRow]:
        return self._run(outbox.outbox(writer, epoch, now, limit))

    def outbox_done(self, writer: str, epoch: str, row: int, now: int) -> None:
        self._run(outbox.done(writer, epoch, row, now))

    def outbox_writers(self, now: int, epoch: str | None = None) -> list[str]:
        return self._run(outbox.writers(now, epoch))

    def trim_outbox(self, now: int) -> int:
        return self._run(outbox.trim(now))

    # -- retention
    def vanish(self, now: int, limit: int = 1000) -> int:
        return self._run(retention.vanish(now, limit))

    def expire(self, now: int, retention_ms: int, limit: int = 5000) -> int:
        return self._run(retention.expire(now, retention_ms, limit))

    def overdue(self, kind: str, before: int, limit: int = 10_000) -> int:
        return self._run(retention.overdue(kind, before, limit))


_postgres = SyncStore()


class _Chosen:
    """The store that settings name, looked up with each call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(chosen.deferred if chosen.elsewhere() else _postgres, name)


if TYPE_CHECKING:
    store = SyncStore()
else:
    store = _Chosen()
