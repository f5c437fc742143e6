"""The state document of a conversation: what must be seen and changed in one step.

Only what has a bounded size is in it. Everything that takes a number is listed as a :class:`Claim` until it is known to be
durable, so that whoever reads the log knows of each number that is not there whether it may still come.
"""

from __future__ import annotations

import enum

import msgspec

#: Devices whose last ``seqNum`` is in the document; of the others it is in the table ``seqnum``.
MAX_LASTS = 64
#: Changes that a document remembers, so that an unknown outcome can be settled.
MAX_RECENT = 16


class State(enum.IntEnum):
    OPEN = 0  # its rows may be durable, may come, or may never come
    THERE = 1  # its event was there: it is one of the log, whoever wrote it
    VOID = 2  # it was not, and never will be: what may still come is deleted


class Claim(msgspec.Struct, array_like=True, gc=False):
    """A number that was given out for a message, and all that a second attempt has to know to write the same row."""

    sender: str
    message_id: str
    body_hash: bytes
    seq: int
    ordinal: int
    stamp: int
    at: int
    allocated_at: int  # ms of the clock of who gave it out: rows that are durable later than CLAIM_MS behind it do not count
    device: str = ""
    seq_num: int = 0
    withheld: bool = False
    until: int = 0
    amends: bool = False  # other rows change with it: nobody decides on rows before it is settled
    state: State = State.OPEN

    @property
    def key(self) -> tuple[str, str]:
        return self.sender, self.message_id


class Block(msgspec.Struct, array_like=True):
    """Of a direct conversation, by the member who has blocked: a block in force or past (:meth:`Store.withhold`)."""

    sender: str
    active: bool = False
    timer: int = -1  # what ``sender`` has set since that the member does not know; -1: nothing
    owed: int = 0  # the latest run of withheld seqs: the one before it
    through: int = 0  # and its end


class Shown(msgspec.Struct, array_like=True):
    """What the other user of a direct conversation is shown of a receipt while a block is in force."""

    delivered: int = 0
    read: int = 0
    changed_at: int = 0
    delivered_at: int = 0


class Step(msgspec.Struct, array_like=True):
    """One event of an :class:`Intent`. No device has sent it, it has no content and takes no ordinal."""

    seq: int
    message_id: str
    kind: str
    extra: bytes | None
    withheld: bool = False


class Intent(msgspec.Struct, array_like=True):
    """A change that is decided and counts; its rows are written until they are durable, by whoever meets it
    (:mod:`delivery.store.cassandra.changes`). Its seqs are never void: a page stops before them, or finishes it."""

    writer: str
    row: int  # of the outbox
    sender: str
    at: int
    ordinal: int
    stamp: int  # of its rows
    began_at: int  # ms of the clock of who decided it
    steps: list[Step]
    #: Rows of ``member`` that change: user, joined, left, speaker.
    members: list[tuple[str, int, int, bool]] = []


class Hot(msgspec.Struct, array_like=True):
    """That the document is elsewhere: plain appends change a copy on the hot node (:mod:`delivery.store.cassandra.copies`), and
    what stands here is as old as this mark. Nothing else is changed before the copy was called back."""

    token: int  # names the copy; no other has had it
    epoch: str  # of the node that has it
    number: int  # of the lease under which it counts (:mod:`delivery.store.cassandra.leases`)
    limit: int  # the last seq that may be given out on it


class Lost(msgspec.Struct, array_like=True):
    """A copy was lost: of the seqs ``low < seq <= high`` only those that were there count, and what may still come of the others
    is deleted by a timestamp above all of theirs."""

    low: int
    high: int
    stamp: int
    there: list[int] = []


class Lock(msgspec.Struct, array_like=True):
    token: int
    until: int  # ms of the holder's clock; a lock that nobody gave back ends then


class Document(msgspec.Struct, array_like=True):
    """Fields are only ever added, at the end, with a default: an older process reads past them."""

    kind: str  # direct | group
    created_at: int
    head: int = 0  # last seq given out
    ordinal: int = 0  # messages up to it
    stamp: int = 0  # last write timestamp given out, microseconds; ascends
    floor: int = 0  # everything up to it has expired
    floor_ordinal: int = 0
    oldest_at: int = 0  # of the oldest event that has not expired, 0: there is none
    timer: int = 0  # seconds that messages are kept, 0: no limit of the conversation's own
    members: int = 0  # of a group, now
    roster_seq: int = 0  # of the last change of members
    restricted: bool = False  # only speakers may send
    blocks: dict[str, Block] = {}
    lasts: dict[str, int] = {}  # device → last seqNum
    claims: list[Claim] = []
    lock: Lock | None = None
    recent: list[int] = []  # tokens of the latest changes
    day: int = 0  # latest day that ``activity`` has this conversation under
    people: list[str] = []  # the users of a direct conversation, ascending; empty: a group
    unaccepted: list[str] = []  # those of them who have not accepted the other yet
    shown: dict[
        str, Shown
    ] = {}  # user → what the other is shown of the user's receipt while a block is in force
    intent: Intent | None = None
    hot: Hot | None = None
    base: int = (
        0  # seqs up to it were reserved for a copy that was lost: none of them is given out again (R24)
    )
    lost: Lost | None = None
    life: int = 0  # of the log, when the last number was given out (:mod:`delivery.store.cassandra.life`)

    @property
    def given(self) -> int:
        """The last seq that may have been given out: the next is above it."""
        return max(self.head, self.base)

    def next_stamp(self, now: int) -> int:
        """A write timestamp above all earlier ones of the conversation; ``now`` in ms."""
        self.stamp = max(now * 1000, self.stamp + 1)
        return self.stamp


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Document).decode


def pack(document: Document) -> bytes:
    return _encode(document)


def unpack(data: bytes) -> Document:
    return _decode(data)
