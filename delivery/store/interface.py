"""What the engine asks of a durable store, and what it may rely on.

Every implementation passes the one contract suite in ``tests/contract``. Ids are lower-case UUID text, times are
milliseconds since the epoch, ``seq`` counts from 1 in each conversation, and an absent ``seq`` is 0. ``now`` is always an
argument: a store reads no clock, so a test moves time by moving its own.

Errors: :class:`Unavailable` when the outcome is unknown or the server is away (the caller answers ``unavailable`` and the
client sends again with the same ``messageId``); nothing else is raised for anything a client can send. What is to be written of a
conversation that another region holds raises :class:`whatsapp.infra.residency.WrongRegion`, or is left out by :meth:`Store.save`
(:mod:`delivery.store.door`): whoever answers a client asks before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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


class Unavailable(Exception):
    """The store did not answer; whether the last statement took effect is unknown."""


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

    async def stored(self, asked: Sequence[tuple[str, str]]) -> list[First | None]:
        """For each (sender, message_id): the sender's event with this id, in whatever conversation, None without one. What has
        expired is none."""

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

    async def attention(self, asked: Sequence[tuple[str, str, int]]) -> list[Attention]:
        """For each (user, conversation, seq) what decides whether the user wants to hear of that event. Whether the user is owed
        it is the caller's to know."""

    # -- flags ------------------------------------------------------------------------------------------------------
    async def flags(self, user: str, conversation: str) -> OwnFlags | None:
        """What the user has set for a conversation; None for who never was a member."""

    async def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        """Set all of it; what is stored, with the next version. Version and time of ``new`` do not count.

        The caller lets changes of one user come one after the other, each after its own :meth:`flags`."""

    async def forget_flags(self, user: str) -> None:
        """Delete all that the user has set. Idempotent."""

    # -- the end of a user ------------------------------------------------------------------------------------------
    async def forget_user(
        self, user: str, devices: Sequence[str], ended_at: int, now: int, limit: int = 100
    ) -> Forgotten:
        """Delete what is kept of a user who was ended for good at ``ended_at`` (ms) and has left all groups: intervals, receipts,
        flags, and direct conversations wholly, with what the other one has written there since. A conversation in which an event
        of the time before has not expired is left, for others may be owed it; so are all but ``limit`` others. ``devices``: all
        that the user ever had. Idempotent."""

    # -- devices ----------------------------------------------------------------------------------------------------
    async def link_device(self, user: str, device: str, now: int, since: int = 0) -> None:
        """Insert the device row, then read the heads of the user's conversations as its positions (C4). Idempotent.

        With ``since`` (ms) it is owed more, of what its user may read: each conversation from its first event that was appended
        then or later, as exact as the clocks of those who appended agree. Nobody's receipts move."""

    async def unlink_device(self, user: str, device: str, now: int) -> None:
        """End the device: its row, positions and seq_nums go (terminal state "unlinked"), these at least in the conversations
        that the user is or was a member of: nobody else sends. Idempotent."""

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
        floor; positions below it become the floor with ``expired`` recorded (of this call: whose user is owed nothing of what
        later ones delete stays there). Returns events deleted; call until 0."""

    async def overdue(self, kind: str, before: int, limit: int = 10_000) -> int:
        """How much is older than ``before`` although nothing should be, at most ``limit``. ``kind``: ``messages`` (conversations,
        or days, with such), ``mentions``, ``vanishing``, ``outbox`` (writers). Raises ``KeyError`` for another kind."""
