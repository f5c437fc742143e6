"""Changes that Django code has made in its own transaction and that a store elsewhere still has to be told of.

Each is a row of ``delivery_pending``, committed with whatever it belongs to. Those of one subject (a conversation, or a user) are
carried out in the order of their rows, each as often as it takes, and the row goes with the last time: every one may be repeated
without harm. So a crash between the commit and the store loses nothing, and a transaction that fails changes nothing.

One that fails :data:`MOST_FAILURES` times although the store answers is *parked*: what comes behind it goes on, a metric and the
admin show it, and staff have it tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from delivery.store.interface import Store
from delivery.store.values import Change, Flags
from whatsapp.infra import clock

#: Who wrote a row carries it out at once; after so long (ms) the sweep does.
GRACE_MS: Final = 2_000
#: Longest wait before the sweep tries again what failed.
LONGEST_MS: Final = 60_000

#: A change that is carried out so much later (ms) bears the time at which it is, not that of its commit: a row of the outbox that
#: is old when it is written is told to nobody.
LATE_MS: Final = 60_000

#: Then a change is parked: about eight minutes of tries.
MOST_FAILURES: Final = 12

INSERT: Final = """INSERT INTO delivery_pending (subject, pair, due_at, written_at, operation)
VALUES (%s::uuid, %s, %s::bigint, %s::bigint, %s::bytea) RETURNING id"""
OF_SUBJECT: Final = """SELECT id, operation, tries, failures FROM delivery_pending WHERE subject = %s::uuid AND NOT parked
ORDER BY id FOR UPDATE"""
OF_PAIRS: Final = "SELECT subject::text, pair FROM delivery_pending WHERE pair = ANY (%s)"
#: One that is parked is tried again: somebody needs the conversation.
OPENING: Final = """UPDATE delivery_pending SET parked = false, failures = CASE WHEN parked THEN 0 ELSE failures END
WHERE pair = %s RETURNING id, operation"""
REPLACE: Final = "UPDATE delivery_pending SET operation = %s::bytea WHERE id = %s"
DONE: Final = "DELETE FROM delivery_pending WHERE id = %s"
DUE: Final = """SELECT DISTINCT subject::text FROM delivery_pending WHERE due_at <= %s::bigint AND NOT parked LIMIT %s"""
LATER: Final = """UPDATE delivery_pending SET tries = tries + 1, due_at = %s::bigint
WHERE subject = %s::uuid AND NOT parked"""
FAILED: Final = "UPDATE delivery_pending SET failures = failures + 1, parked = %s, error = %s WHERE id = %s"
STATE: Final = """SELECT count(*) FILTER (WHERE NOT parked), count(*) FILTER (WHERE parked),
    coalesce(min(written_at) FILTER (WHERE NOT parked AND written_at > 0), 0) FROM delivery_pending"""


class Elsewhere(Store, Protocol):
    """What a store outside PostgreSQL offers besides."""

    async def open_direct(
        self, a: str, b: str, new_id: str, now: int, unaccepted: Sequence[str], blocked: Sequence[str]
    ) -> str:
        """As :meth:`Store.ensure_direct`; a conversation that is made begins with these: who has not accepted the other
        (:meth:`Store.request`) and who has blocked the other (:meth:`Store.withhold`)."""

    async def directs(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The direct conversation of each pair, "" where there is none."""

    async def unaccepted(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (member, other): whether they have a direct conversation and ``member`` has not accepted ``other`` yet."""


class _Operation(msgspec.Struct, array_like=True, tag=True):
    async def perform(self, store: Elsewhere) -> Any:
        raise NotImplementedError


def _told_at(now: int) -> int:
    """The time of a change that was committed at ``now`` and is carried out at this moment."""
    present = clock.now_ms()
    return present if present - now > LATE_MS else now


class OpenDirect(_Operation):
    low: str
    high: str
    new_id: str
    now: int
    unaccepted: list[str] = []
    blocked: list[str] = []  # who blocks the other

    async def perform(self, store: Elsewhere) -> str:
        return await store.open_direct(
            self.low, self.high, self.new_id, self.now, self.unaccepted, self.blocked
        )


class Withhold(_Operation):
    member: str
    sender: str
    on: bool
    now: int

    async def perform(self, store: Elsewhere) -> str:
        return await store.withhold(self.member, self.sender, self.on, _told_at(self.now))


class Accept(_Operation):
    user: str
    now: int
    conversations: list[str]

    async def perform(self, store: Elsewhere) -> Any:
        return await store.accept(self.user, _told_at(self.now), conversations=self.conversations)


class CreateGroup(_Operation):
    conversation: str
    now: int

    async def perform(self, store: Elsewhere) -> None:
        await store.create_group(self.conversation, self.now)


class ChangeMembers(_Operation):
    writer: str
    conversation: str
    sender: str
    changes: list[Change]
    now: int

    async def perform(self, store: Elsewhere) -> Any:
        now = _told_at(self.now)
        return await store.change(self.writer, self.conversation, self.sender, self.changes, now)


class SetTimer(_Operation):
    writer: str
    conversation: str
    sender: str
    message_id: str
    seconds: int
    extra: bytes
    now: int

    async def perform(self, store: Elsewhere) -> Any:
        now = _told_at(self.now)
        return await store.set_timer(
            self.writer, self.conversation, self.sender, self.message_id, self.seconds, self.extra, now
        )


class SetFlags(_Operation):
    user: str
    conversation: str
    new: Flags
    now: int

    async def perform(self, store: Elsewhere) -> Any:
        return await store.set_flags(self.user, self.conversation, self.new, self.now)


class ForgetFlags(_Operation):
    user: str

    async def perform(self, store: Elsewhere) -> None:
        await store.forget_flags(self.user)


class LinkDevice(_Operation):
    user: str
    device: str
    now: int
    since: int

    async def perform(self, store: Elsewhere) -> None:
        await store.link_device(self.user, self.device, self.now, self.since)


class UnlinkDevice(_Operation):
    user: str
    device: str
    now: int

    async def perform(self, store: Elsewhere) -> None:
        await store.unlink_device(self.user, self.device, self.now)


Operation = (
    OpenDirect
    | Withhold
    | Accept
    | CreateGroup
    | ChangeMembers
    | SetTimer
    | SetFlags
    | ForgetFlags
    | LinkDevice
    | UnlinkDevice
)

encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Operation)


def decode(stored: bytes | memoryview) -> Operation:
    """Of a row's column ``operation``."""
    return _decoder.decode(stored)


def name_of(stored: bytes | memoryview) -> str:
    """Which change it is; "unknown": one of a newer version's. Never what it says."""
    try:
        return type(decode(stored)).__name__
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "unknown"


def retry_at(now: int, tries: int) -> int:
    """When the sweep tries again what has failed ``tries`` times before."""
    return now + min(GRACE_MS << min(tries, 10), LONGEST_MS)


def pair_of(a: str, b: str) -> str:
    """The column ``pair`` of the row that opens the conversation of two users."""
    low, high = sorted((a, b))
    return f"{low}:{high}"
