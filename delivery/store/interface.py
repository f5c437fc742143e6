"""What the engine asks of a durable store, and what it may rely on.

Every implementation passes the one contract suite in ``tests/contract``. Ids are lower-case UUID text, times are
milliseconds since the epoch, ``seq`` counts from 1 in each conversation, and an absent ``seq`` is 0. ``now`` is always an
argument: a store reads no clock, so a test moves time by moving its own.

Errors: :class:`Unavailable` when the outcome is unknown or the server is away (the caller answers ``unavailable`` and the
client sends again with the same ``messageId``); nothing else is raised for anything a client can send.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import msgspec

from delivery.envelopes import member_hash

#: A device younger than this rebuilds its dirty set at every opening: another gateway may still fan out by a device list
#: read before the device was linked. Twice the greatest age of such a list.
DEVICE_LIST_MAX_AGE_MS = 5_000
NEW_DEVICE_MS = 2 * DEVICE_LIST_MAX_AGE_MS


#: In a msgpack map of optional fields: the message may be seen once. Nobody could take the content of an edit away again.
VIEW_ONCE = b"\xa9view_once\xc3"

#: Up to so many members each receipt is told to each; above, senders are told counts.
RECEIPTS_EACH = 32


class Unavailable(Exception):
    """The store did not answer; whether the last statement took effect is unknown."""


class Outcome(enum.IntEnum):
    """What became of one :class:`Send`."""

    STORED = 0
    DUPLICATE = 1  # the same (sender, message_id) and body: ``seq`` and ``at`` are those of the first
    CONFLICT = 2  # the same (sender, message_id), another body or conversation
    OUT_OF_ORDER = (
        3  # ``seq_num`` is not the durable last + 1 of (device, conversation); ``expected`` says what is
    )
    NO_CONVERSATION = 4  # there is no head for this conversation
    # Of an :class:`Amendment` only; nothing was stored, and its ``seq_num`` does not count. (5 is the implementation's.)
    NO_TARGET = 6  # no such message, or none that the sender is owed; or there is no reaction to take back
    FORBIDDEN = 7  # it is somebody else's message, or one that may be seen once
    GONE = 8  # the message was deleted
    TOO_LATE = 9  # the message is older than ``oldest``
    TOO_MANY = 10  # the message has ``distinct`` other reactions


class Send(msgspec.Struct, array_like=True, gc=False):
    """One event to append. ``body_hash``: 16 bytes over everything that makes two sends the same message."""

    conversation: str
    sender: str
    device: str
    message_id: str
    kind: str
    content: bytes
    body_hash: bytes
    sent_at: int  # the client's clock; shown, never used for order
    seq_num: int = 0  # 0: this device does not count
    extra: bytes | None = None  # msgpack map of the optional fields
    envelopes: bytes | None = None  # ``delivery/envelopes.py``; a store keeps them as they are
    mentions: Sequence[str] = ()  # users; who of them is owed the event has a mention of it
    lasts: int = (
        0  # ms from the append on, after which its content is gone; 0: as the conversation's timer says
    )
    answers: bool = (
        False  # once it is stored its sender has accepted the other user, as by :meth:`Store.accept`
    )


class Amendment(Send):
    """An edit, a delete, a reaction or a vote: an event with a seq of its own that changes what an earlier message says.

    ``target`` is the first *message* with this id in the conversation, and the sender must be owed it. With the event, in
    one step, and before anybody reads either:

    - ``edit`` (one's own message, and none whose extra holds :data:`VIEW_ONCE`): the message's content becomes that of the
      event; earlier edits of it are superseded.
    - ``delete`` (one's own, or in a group anybody's by a member who may always speak): the message loses content, extra and
      envelopes for good; edits, reactions and votes of it are superseded.
    - ``reaction`` (``content``: the emoji in UTF-8, empty to take it back): the sender's earlier one is superseded.
    - ``vote`` (of a message of the kind ``poll``; ``content`` is the client's, empty to take it back): likewise.

    All but a delete go when the message goes, and a message whose time has come is as one that was deleted.

    What is superseded keeps its seq and loses its content; it is owed to nobody any more: pages pass it.
    """

    target: str = ""
    oldest: int = 0  # a message appended before is too old
    distinct: int = 0  # different reactions a message may have


class Appended(NamedTuple):
    outcome: Outcome
    seq: int = 0
    at: int = 0  # server time of the append
    expected: int = 0
    withheld: bool = False  # stored, and owed to its sender alone: the other user has blocked the sender
    until: int = 0  # stored, and its content is gone then; 0: never


class AppendResult(NamedTuple):
    results: list[Appended]  # in the order of the sends
    row: int  # the outbox row of this batch, 0 when nothing was stored


class Logged(msgspec.Struct, array_like=True, gc=False):
    """One row of a conversation's log; also what travels between gateways (msgpack)."""

    conversation: str
    seq: int
    ordinal: int  # messages (not events) up to and including this row
    sender: str
    device: str
    message_id: str
    kind: str
    content: bytes | None  # None once deleted or expired
    sent_at: int
    at: int
    seq_num: int = 0
    extra: bytes | None = None
    envelopes: bytes | None = None
    edited: bool = False  # of a message: ``content`` is that of its last edit
    until: int = 0  # from then on its content, or that of the message it is about, is gone; 0: never
    request: bool = False  # its reader has not accepted its sender yet


class PageRequest(NamedTuple):
    conversation: str
    user: str  # whose intervals decide what is owed
    after: int
    limit: int = 100
    max_bytes: int = 512 * 1024  # of content, extra and envelopes; at least one event is returned


class Page(NamedTuple):
    """``events`` are owed to the user, ordered by seq. ``through``: nothing at or below it is owed beyond ``events`` (it passes
    what is not owed, expired or void, but never ``head``: who has left learns nothing of what came after). ``head``: the last
    seq owed to this user now. ``floor``: everything up to it has expired. The page is the last one when ``through >= head``. A
    user who was never a member gets an empty page with head 0. ``wait_ms``: the page ends before an event that may or may not
    come; whoever wants more asks again after so long, and knows then (a store that decides order and contents in one transaction
    never says so)."""

    events: list[Logged]
    through: int
    head: int
    floor: int = 0
    wait_ms: int = 0


class Interval(NamedTuple):
    user: str
    joined: int  # owed: joined <= seq <= left
    left: int = 0  # 0: still a member


@dataclass(frozen=True)
class Conversation:
    id: str
    kind: str  # direct | group
    head: int
    members: tuple[Interval, ...]  # every interval of every user, read at ``head`` or later (R16, R17)
    #: The members who may send, read in the same snapshot; None: all of them.
    speakers: frozenset[str] | None = None
    #: Of a direct conversation: who has not accepted the other user yet.
    unaccepted: frozenset[str] = frozenset()

    @cached_property
    def current(self) -> frozenset[str]:
        """The members now, which is at ``head`` or later."""
        return frozenset(interval.user for interval in self.members if not interval.left)

    @cached_property
    def member_hash(self) -> str:
        return member_hash(self.current)


class Change(NamedTuple):
    """One event that changes a conversation; who joins or leaves with it is owed it (``joined`` and ``left`` are its seq)."""

    message_id: str
    kind: str  # member_added | member_removed | role | info | timer
    extra: bytes | None = None  # msgpack map: what the event says
    joins: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    #: Members who from now on may send while only speakers may, or who may not any more. Who joins is none.
    speak: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    #: Whether only speakers may send; None: as before.
    restricted: bool | None = None


class Changed(NamedTuple):
    seqs: list[int]  # of the changes, in order; empty when there is no such conversation
    row: int  # the outbox row, 0 when they had been stored before


class TimerSet(NamedTuple):
    seq: int  # of the event; 0: it was so before
    row: int  # the outbox row
    withheld: bool  # the other user has blocked who set it, and hears nothing of it


class RosterHead(NamedTuple):
    head: int
    changed: int  # seq of the last change of members: a list read at that head or later serves every event up to ``head``
    members: int  # of a group, now


class DeviceRow(NamedTuple):
    device: str
    linked_at: int


class Position(NamedTuple):
    acked: int  # everything owed up to here is stored by the device, or has a terminal state
    head: int  # last seq owed to its user now; 0 when the user was never a member
    expired: int = 0  # up to here events went unread into their terminal state "expired"


class Behind(NamedTuple):
    """A conversation in which a device has something to read."""

    conversation: str
    head: int  # last seq owed
    acked: int


class PositionWrite(NamedTuple):
    device: str
    conversation: str
    acked: int


class ReceiptWrite(NamedTuple):
    conversation: str
    user: str
    delivered: int = 0
    read: int = 0
    sent: int = 0  # highest seq of one's own; counts as read for one's own unread number, is shown to nobody


class Receipt(NamedTuple):
    conversation: str
    user: str
    delivered: int
    read: int
    changed_at: int
    delivered_at: int = 0  # when ``delivered`` moved, 0: not known


class ReceiptCount(NamedTuple):
    delivered: int  # of the others who are owed the event
    read: int


class MemberReceipt(NamedTuple):
    user: str
    delivered: bool
    read: bool


class OutboxRow(NamedTuple):
    writer: str
    row: int
    at: int
    heads: tuple[tuple[str, int], ...]  # (conversation, highest seq of it in this batch)


class Flags(NamedTuple):
    """What a user has set for a conversation, for all the user's devices."""

    muted_until: int = 0  # ms; 0: never muted
    pinned: bool = False
    archived: bool = False
    draft: bytes | None = None  # encrypted by the client
    version: int = 0  # one more with every change: of two states of a conversation the higher is the newer
    changed_at: int = 0


class OwnFlags(NamedTuple):
    flags: Flags
    pinned: int  # other conversations of the user that are pinned
    draft_bytes: int  # of the user's other drafts


class ListedConversation(NamedTuple):
    conversation: str
    kind: str
    head: int
    unread: int
    last: Logged | None
    peers: tuple[str, ...]  # direct: the other user
    delivered: int  # one's own receipts
    read: int
    receipt_at: int  # when they last moved, 0: never
    mentioned: int  # unread messages that mention the user; without those that were deleted
    timer: int  # seconds, as the user knows it; 0: none, or the user has left
    flags: Flags
    request: bool = False  # something is owed from somebody whom the user has not accepted yet


class Store(Protocol):
    """All methods are safe to call concurrently. Lists may be empty; results are in request order unless a dict."""

    # -- log --------------------------------------------------------------------------------------------------------
    async def append(self, writer: str, sends: Sequence[Send], now: int) -> AppendResult:
        """Append a batch atomically and durably with its outbox row (C1, C2, C3, R18, R19).

        Heads are locked in sorted order; duplicates are looked up after the locks; then ``seq_num`` is judged as if the
        sends came one after the other; the rest takes dense seqs in list order. Mentions are kept with the events that are
        stored, of those alone who are owed them, nobody's of oneself. The caller has checked membership.
        An :class:`Amendment` is judged behind its ``seq_num`` and takes effect before what follows it in the list.
        One call is in flight per writer. A repeated (sender, message_id) inside one list behaves as if sent in two calls.
        """

    async def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        """Range reads of several conversations in one round trip: the one read path."""

    async def history(self, conversation: str, user: str, after: int, before: int, limit: int) -> Page:
        """For REST: ascending from ``after``, or (``before`` > 0) the last ``limit`` events below ``before``, ascending."""

    async def find(self, conversation: str, message_id: str) -> int:
        """seq of a message of this conversation, 0 if there is none."""

    async def withhold(self, member: str, sender: str, on: bool, now: int) -> str:
        """``member`` blocks ``sender``, or does so no more. Returns their direct conversation, "" when there is none.

        What ``sender`` appends to it from then on, until it is taken back, is owed to ``sender`` alone, for ever; so are
        amendments of it, and amendments of earlier messages, which ``member`` reads as they were (but for a delete, which empties
        the stored content). It counts in nobody's unread number. Exact by ``seq`` against concurrent appends. While either blocks
        the other, neither is shown new receipts of the other. Without a conversation, :meth:`ensure_direct` must be followed
        by this call in the same transaction: the two calls wait for each other. Idempotent.
        """

    async def silent(self, users: Sequence[str]) -> dict[str, frozenset[str]]:
        """By user the direct conversations in which a block is in force, in either direction."""

    async def withheld_after(self, conversations: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
        """By (conversation, member) the latest run of seqs that are withheld from the member: the one before it, and its end."""

    async def knows(self, asked: Sequence[tuple[str, str, str]]) -> list[bool]:
        """For each (conversation, user, message_id): whether there is such an event and the user is owed it. One that may have
        expired, because others of the time when the user was a member have, counts as known."""

    async def stored(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (sender, message_id): whether there is an event of the sender with this id, in whatever conversation."""

    # -- roster -----------------------------------------------------------------------------------------------------
    async def ensure_direct(self, a: str, b: str, new_id: str, now: int) -> str:
        """The 1:1 conversation of two users; made with both roster rows and its head under ``new_id`` if there is none.
        Idempotent, one id under races."""

    async def request(self, conversation: str, members: Sequence[str]) -> None:
        """These have not accepted the other user of a direct conversation. In the transaction that makes it, or nobody could say
        which events came before."""

    async def accept(
        self, user: str, now: int, *, conversations: Sequence[str] = (), others: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """``user`` accepts the other users of these direct conversations, and these users where there is a direct conversation:
        from then on they are shown receipts. (conversation, other user) of those that were not accepted before. Idempotent."""

    async def conversations(self, ids: Sequence[str]) -> dict[str, Conversation]:
        """Kind, head and all member intervals; unknown ids are absent."""

    async def create_group(self, conversation: str, now: int) -> None:
        """The head of a group that has no members yet. Idempotent."""

    async def change(
        self, writer: str, conversation: str, sender: str, changes: Sequence[Change], now: int
    ) -> Changed:
        """Append events and change the members with them, atomically and durably, with an outbox row.

        Who is a member already does not join, who is none does not leave. A repetition (by the message_id) changes nothing.
        The caller has checked that ``sender`` may; a user joins or leaves once in a call.
        """

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
        """How long messages of a conversation are kept from now on, 0: no longer; None for who is no member of it now.

        With it, in one step, an event ``timer`` with ``extra``, and an outbox row. Each message with a higher seq has it as its
        :attr:`Logged.until`, unless its own ``lasts`` is shorter. What a member sets whom the other has blocked holds for that
        member's own messages, until a change that is owed to both.
        """

    async def roster_heads(self, ids: Sequence[str]) -> dict[str, RosterHead]:
        """Head and last change of members, in one snapshot each; unknown ids are absent."""

    async def listed(self, user: str, limit: int, after: str = "") -> list[ListedConversation]:
        """The user's conversations by id (cursor: ``after`` = last id).

        unread = messages at head - messages at max(read, sent); mentioned counts those of them that mention the user."""

    async def direct_peers(self, user: str, limit: int, after: str) -> list[str]:
        """The other users of the user's direct conversations, by id (cursor: ``after`` = last id)."""

    async def badges(self, users: Sequence[str], now: int) -> dict[str, int]:
        """For each user the number on the badge: unread messages of conversations that are neither muted nor archived, and
        unread mentions in the others; nothing of whom the user has not accepted. One statement, whatever the number of
        conversations."""

    # -- flags ------------------------------------------------------------------------------------------------------
    async def flags(self, user: str, conversation: str) -> OwnFlags | None:
        """What the user has set for a conversation; None for who never was a member."""

    async def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        """Set all of it; what is stored, with the next version. Version and time of ``new`` do not count.

        The caller lets changes of one user come one after the other, each after its own :meth:`flags`."""

    async def forget_flags(self, user: str) -> None:
        """Delete all that the user has set. Idempotent."""

    # -- devices ----------------------------------------------------------------------------------------------------
    async def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        """Insert the device row, then read the heads of the user's conversations as its positions (C4). Idempotent.

        With ``since`` (ms) it is owed more, of what its user may read: each conversation from its first event that was appended
        then or later, as exact as the clocks of those who appended agree. Nobody's receipts move."""

    async def unlink_device(self, user: str, device: str, now: int) -> None:
        """End the device: its row, positions and seq_nums go (terminal state "unlinked"). Idempotent."""

    async def devices(self, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
        """Linked devices of each user; users without any are present with an empty tuple."""

    # -- positions and receipts -------------------------------------------------------------------------------------
    async def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        """Positions of one device; a conversation joined after the device was linked starts at joined - 1. Conversations the user
        was never a member of are absent."""

    async def behind(self, user: str, device: str) -> list[Behind]:
        """Every conversation of the user whose last owed seq is above the device's position (the dirty set, recomputed)."""

    async def behind_each(self, asked: Sequence[tuple[str, str]]) -> list[list[Behind]]:
        """:meth:`behind` for each (user, device)."""

    async def save(
        self, positions: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int
    ) -> None:
        """Raise positions and receipts (never lower them). Needs no fsync: a loss repeats events, never loses them. A position
        of an unlinked device is not written."""

    async def receipts(self, conversations: Sequence[str], user: str, since: int) -> list[Receipt]:
        """Receipts of the other members changed at or after ``since``; ``conversations`` empty: all the user's (newest 500). None
        of a conversation that the user has left, and none of who has not accepted the user.
        Groups above :data:`RECEIPTS_EACH` members have none: see :meth:`receipt_counts`."""

    async def receipt_counts(self, events: Sequence[tuple[str, str, int]]) -> list[ReceiptCount]:
        """For each (conversation, user, seq): how many others who are owed the event have it, and have read it."""

    async def message_receipts(
        self, conversation: str, user: str, seq: int, after: str, limit: int
    ) -> list[MemberReceipt]:
        """Of each other user who is owed the event, by id, above ``after``."""

    # -- outbox -----------------------------------------------------------------------------------------------------
    async def outbox(self, writer: str, epoch: str, now: int, limit: int = 1000) -> list[OutboxRow]:
        """Rows of this writer not done under ``epoch``, oldest first: above its watermark of that epoch; without one, the rows of
        the last 10 minutes and every row above the highest watermark under any epoch (R2). Never older than 2 h."""

    async def outbox_done(self, writer: str, epoch: str, row: int, now: int) -> None:
        """Raise the watermark of (writer, epoch) to ``row`` (never lowers it)."""

    async def outbox_writers(self, now: int, epoch: str | None = None) -> list[str]:
        """Every writer with a row younger than 2 h (the sweep is never finished with one, R4); with ``epoch`` those of which
        :meth:`outbox` has rows now."""

    async def trim_outbox(self, now: int) -> int:
        """Delete rows and watermarks older than 2 h; returns how many rows."""

    # -- retention --------------------------------------------------------------------------------------------------
    async def vanish(self, now: int, limit: int = 1000) -> int:
        """Empty up to ``limit`` messages whose :attr:`Logged.until` has come, and supersede what is about them, as a delete does
        but without an event: every reader knows it by the message itself. Returns how many; call until 0."""

    async def expire(self, now: int, retention_ms: int, limit: int = 5000) -> int:
        """Delete up to ``limit`` events older than the retention, oldest seqs of a conversation first; raise each conversation's
        floor; positions below it become the floor with ``expired`` recorded. Returns events deleted; call until 0."""
