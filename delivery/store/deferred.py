"""The store for Django code whose log is not in the database of its transactions.

What a service changes is written down in its transaction (:mod:`delivery.store.pending`), carried out right after the commit and
before the caller goes on, and by the sweep (:mod:`delivery.pending`) should that fail. Reads go straight to the store; a read
that a change is decided by first carries out what is still written down of the same subject.

The methods are those of :class:`delivery.store.sync.SyncStore`, with its rule: changes are made within ``transaction.atomic()``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from django.db import connections, transaction

from delivery.store import door, pending
from delivery.store.interface import Unavailable
from delivery.store.pending import Elsewhere
from delivery.store.values import Change, Changed, Flags, OwnFlags, TimerSet
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

T = TypeVar("T")

#: ``ask(lambda store: store.…)``: what a coroutine of the store returns. Raises ``Unavailable`` after a bounded wait.
Ask = Callable[[Callable[[Elsewhere], Coroutine[Any, Any, Any]]], Any]

_MISSING: Any = object()
_HOLD = "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))"
_OPENS, _BLOCKS = 1, 0  # what the lock of a pair is for
_MANY = 1_000


class DeferredStore:
    """``using``: the database alias of the services."""

    def __init__(self, ask: Ask, using: str = "default") -> None:
        self._ask = ask
        self._using = using
        self._local = threading.local()  # results of what this thread has carried out, by row

    def __getattr__(self, name: str) -> Any:
        """Whatever decides nothing here: the store's own method, waited for."""
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._ask(lambda store: getattr(store, name)(*args, **kwargs))

        return call

    # -- what is written down

    def _sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with connections[self._using].cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def _defer(
        self,
        subject: str,
        operation: pending.Operation,
        then: Callable[[Any], None] | None = None,
        *,
        pair: str | None = None,
        must: bool = False,
    ) -> None:
        """Write an operation down, and carry it out after the commit. ``then`` gets its result, if this process gets one.
        ``must``: whoever commits is told ``Unavailable`` when it cannot be carried out yet."""
        written = pending.encode(operation)
        now = now_ms()
        ((row,),) = self._sql(pending.INSERT, subject, pair, now + pending.GRACE_MS, now, written)
        transaction.on_commit(lambda: self._committed(subject, row, then, must), using=self._using)

    def _committed(self, subject: str, row: int, then: Callable[[Any], None] | None, must: bool) -> None:
        faults.point("pending-commit")
        done = self._done()
        try:
            if row not in done:
                self._settle(subject)
        except Exception as error:
            if must:
                raise
            log.warning("a change of %s is left to the sweep: %s", subject, type(error).__name__)
            if not isinstance(error, Unavailable):
                log.exception("a change could not be carried out")
        result = done.pop(row, _MISSING)
        if then is not None and result is not _MISSING:
            then(result)

    def _done(self) -> dict[int, Any]:
        found: dict[int, Any] | None = getattr(self._local, "done", None)
        if found is None or len(found) > _MANY:
            found = self._local.done = {}
        return found

    def _settle(self, subject: str) -> None:
        """Carry out what is written down of a subject. Raises ``Unavailable``."""
        done = self._done()
        with transaction.atomic(using=self._using):
            for row, operation, *_ in self._sql(pending.OF_SUBJECT, subject):
                done[row] = self._ask(pending.decode(operation).perform)
                self._sql(pending.DONE, row)

    def settle(self, subject: str) -> None:
        """Carry out what is written down of a conversation or a user, for who compares. Raises ``Unavailable``."""
        self._settle(subject)

    def _opening(self, a: str, b: str) -> tuple[int, pending.OpenDirect] | None:
        """What opens the conversation of two users, if that is not carried out yet. Its row is locked."""
        for row, operation in self._sql(pending.OPENING, pending.pair_of(a, b)):
            opening = pending.decode(operation)
            assert isinstance(opening, pending.OpenDirect)
            return row, opening
        return None

    # -- direct conversations

    def hold_direct(self, a: str, b: str) -> None:
        """Until the end of the transaction :meth:`withhold` between these two waits."""
        self._sql(_HOLD, pending.pair_of(a, b), _BLOCKS)

    def ensure_direct(self, a: str, b: str, new_id: str, now: int) -> str:
        (found,) = self._ask(lambda store: store.directs([(a, b)]))
        if found:
            return str(found)
        self._sql(_HOLD, pending.pair_of(a, b), _OPENS)
        opening = self._opening(a, b)
        if opening is not None:
            conversation = opening[1].new_id
            transaction.on_commit(lambda: self._settle(conversation), using=self._using)
            return conversation
        # Whoever held the lock before may have carried it out since.
        (found,) = self._ask(lambda store: store.directs([(a, b)]))
        if found:
            return str(found)
        door.check(new_id)
        low, high = sorted((a, b))
        self._defer(new_id, pending.OpenDirect(low, high, new_id, now), pair=pending.pair_of(a, b), must=True)
        return new_id

    def request(self, conversation: str, members: Sequence[str]) -> None:
        """In the transaction that makes the conversation."""
        for row, operation, *_ in self._sql(pending.OF_SUBJECT, conversation):
            opening = pending.decode(operation)
            if isinstance(opening, pending.OpenDirect):
                opening.unaccepted = sorted({*opening.unaccepted, *members})
                self._sql(pending.REPLACE, pending.encode(opening), row)

    def accept(
        self, user: str, now: int, *, conversations: Sequence[str] = (), others: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        ids = dict.fromkeys(conversations)
        if others:
            # What is still to be opened before what is open: nothing can pass between the two.
            waiting = self._sql(pending.OF_PAIRS, [pending.pair_of(user, other) for other in others])
            for conversation, _ in waiting:
                self._settle(conversation)
            found = self._ask(lambda store: store.directs([(user, other) for other in others]))
            ids.update(dict.fromkeys(filter(None, found)))
        known = self._ask(lambda store: store.conversations(list(ids))) if ids else {}
        accepted = [
            (conversation, other)
            for conversation in ids
            if conversation in known and user in known[conversation].unaccepted
            for other in known[conversation].current - {user}
        ]
        for conversation, _ in accepted:
            self._defer(conversation, pending.Accept(user, now, [conversation]))
        return accepted

    def withhold(self, member: str, sender: str, on: bool, now: int) -> str:
        self.hold_direct(member, sender)
        opening = self._opening(member, sender)
        if opening is not None:
            row, operation = opening
            blocked = {*operation.blocked} | {member} if on else {*operation.blocked} - {member}
            operation.blocked = sorted(blocked)
            self._sql(pending.REPLACE, pending.encode(operation), row)
            return operation.new_id
        (conversation,) = self._ask(lambda store: store.directs([(member, sender)]))
        if conversation:
            self._defer(conversation, pending.Withhold(member, sender, on, now))
        return str(conversation)

    # -- members and timers

    def create_group(self, conversation: str, now: int) -> None:
        door.check(conversation)
        self._defer(conversation, pending.CreateGroup(conversation, now))

    def change(
        self,
        writer: str,
        conversation: str,
        sender: str,
        changes: Sequence[Change],
        now: int,
        then: Callable[[Changed], None] | None = None,
    ) -> Changed:
        """Nothing is known of the seqs before the commit: they are told to ``then``."""
        door.check_changes(conversation, changes)
        self._defer(
            conversation, pending.ChangeMembers(writer, conversation, sender, list(changes), now), then
        )
        return Changed([], 0)

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
        """What is returned says only whether ``sender`` is a member; the rest is told to ``then``."""
        door.check(conversation)
        self._settle(conversation)
        known = self._ask(lambda store: store.conversations([conversation])).get(conversation)
        if known is None or sender not in known.current:
            return None
        self._defer(
            conversation,
            pending.SetTimer(writer, conversation, sender, message_id, seconds, extra, now),
            then,
        )
        return TimerSet(0, 0, False)

    # -- flags

    def flags(self, user: str, conversation: str) -> OwnFlags | None:
        self._settle(user)
        return self._ask(lambda store: store.flags(user, conversation))  # type: ignore[no-any-return]

    def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        """``new`` is changed from what :meth:`flags` has returned in the same transaction."""
        door.check(conversation)
        self._defer(user, pending.SetFlags(user, conversation, new, now))
        return new._replace(version=new.version + 1, changed_at=max(new.changed_at, now))

    def forget_flags(self, user: str) -> None:
        self._defer(user, pending.ForgetFlags(user))

    # -- devices

    def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        self._defer(user, pending.LinkDevice(user, device, now, since))

    def unlink_device(self, user: str, device: str, now: int) -> None:
        self._defer(user, pending.UnlinkDevice(user, device, now))
