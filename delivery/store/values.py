"""What goes into a durable store and comes out of it. What each means to whom is said by :mod:`delivery.store.interface`.

Ids are lower-case UUID text, times are milliseconds since the epoch, ``seq`` counts from 1 in each conversation, and an absent
``seq`` is 0.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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


class First(NamedTuple):
    """What is stored under the id of a send that comes again."""

    conversation: str
    seq: int
    at: int  # server time of the append
    body_hash: bytes

    def again(self, send: Send) -> Appended:
        """What the send is answered."""
        if (self.conversation, self.body_hash) == (send.conversation, send.body_hash):
            return Appended(Outcome.DUPLICATE, self.seq, self.at)
        return Appended(Outcome.CONFLICT)


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
    form: bytes | None = None  # of a message that was edited: ``extra`` of the edit that ``content`` is of


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


class Attention(NamedTuple):
    """What decides whether a user wants to hear of an event of a conversation."""

    read: int  # by whichever device, or the highest seq of one's own
    muted_until: int  # ms; 0: never muted
    archived: bool
    mention: int  # the last seq up to the event that mentions the user, 0: none
    at: int  # when the event was appended, ms; 0: it is not there


class Forgotten(NamedTuple):
    """Conversations of a user who is gone."""

    done: int  # that nothing in says so any more
    left: int


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
