"""Messages that amendments are about, and what is said about them: judged and changed in memory, in the order of the list, then
written as rows. The rules are those of :class:`delivery.store.values.Amendment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from delivery.store.cassandra import rows
from delivery.store.cassandra.document import Claim, Document
from delivery.store.cassandra.events import EventRow
from delivery.store.cassandra.judge import About
from delivery.store.cassandra.members import Membership, is_owed
from delivery.store.cassandra.session import Statement
from delivery.store.values import VIEW_ONCE, Amendment, Outcome, Send

#: What is about a message, by (conversation, seq).
ABOUT = "SELECT seq, message_id, sender, kind, content, withheld FROM $.about WHERE conversation = ? AND target = ?"
_KEY = "WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"
_SUPERSEDE = f"UPDATE $.event USING TIMESTAMP ? SET content = null, extra = null, superseded = true {_KEY}"
_REPLACE = f"UPDATE $.event USING TIMESTAMP ? SET replaced = ? {_KEY}"
_EDIT = f"UPDATE $.event USING TIMESTAMP ? SET content = ?, edited = ?, replaced = null {_KEY}"
_DELETE = f"""UPDATE $.event USING TIMESTAMP ? SET content = null, extra = null, envelopes = null, edited = null,
    replaced = null, until = null {_KEY}"""
_VANISH = f"""UPDATE $.event USING TIMESTAMP ? SET content = null, extra = null, envelopes = null, edited = null {_KEY}"""
_FORGET = "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ? AND seq = ? AND message_id = ?"
#: What is about a message and may be superseded.
_KINDS = frozenset(("edit", "reaction", "vote"))


@dataclass
class Thing:
    """An event about a message that is in force."""

    seq: int
    message_id: str
    sender: str
    kind: str
    content: bytes
    withheld: bool


@dataclass
class Target:
    """A message, as it is now."""

    conversation: str
    seq: int
    message_id: str
    sender: str
    kind: str
    at: int
    gone: bool
    edited: int
    replaced: int
    withheld: bool
    until: int
    once: bool  # it may be seen once
    things: list[Thing] = field(default_factory=list)

    @property
    def about(self) -> About:
        return About(self.withheld, self.until)

    def refuses(
        self, send: Amendment, document: Document, intervals: Sequence[Membership], now: int
    ) -> Outcome | None:
        """Why the amendment is not stored, None: it is."""
        kind = send.kind
        if (
            not rows.is_message(self.kind)
            or (self.withheld and self.sender != send.sender)
            or (kind == "vote" and self.kind != "poll")
            or not is_owed(intervals, self.seq)
        ):
            return Outcome.NO_TARGET
        if self.sender != send.sender and (
            kind == "edit" or (kind == "delete" and not _may_delete(document, intervals))
        ):
            return Outcome.FORBIDDEN
        if kind == "edit" and self.once:
            return Outcome.FORBIDDEN
        if self.gone or 0 < self.until <= now:
            return Outcome.GONE
        if self.at < send.oldest:
            return Outcome.TOO_LATE
        if kind in ("reaction", "vote"):
            return self._refuses_thing(send)
        return None

    def _refuses_thing(self, send: Amendment) -> Outcome | None:
        old = [one for one in self.things if one.sender == send.sender and one.kind == send.kind]
        if not send.content:
            return None if old and max(old, key=lambda one: one.seq).content else Outcome.NO_TARGET
        if send.kind == "vote":
            return None
        reactions = [one for one in self.things if one.kind == "reaction"]
        if any(
            one.content == send.content and (not one.withheld or one.sender == send.sender)
            for one in reactions
        ):
            return None
        others = {
            one.content for one in reactions if one.content and not one.withheld and one.sender != send.sender
        }
        return Outcome.TOO_MANY if len(others) >= send.distinct else None

    def amend(self, send: Amendment, claim: Claim) -> list[Statement]:
        """Make of the message what the amendment says; the rows besides its own. May be done again with the same claim."""
        writes: list[Statement] = []
        kind = send.kind
        mine = [
            one
            for one in self.things
            if one.sender == send.sender and one.kind == kind and one.seq != claim.seq
        ]
        if claim.withheld and not self.withheld and kind != "delete":
            # The other user has what it is about, and keeps it as it was: the sender alone reads it as changed.
            for one in mine:
                if one.withheld:
                    writes += self._supersede(one, claim.stamp)
                else:
                    writes.append((_REPLACE, (claim.stamp, claim.seq, *self._key(one.seq, one.message_id))))
            if kind == "edit":
                self.replaced = claim.seq
                writes.append((_REPLACE, (claim.stamp, claim.seq, *self._key(self.seq, self.message_id))))
        elif kind == "edit":
            for one in list(self.things):
                if one.seq in (self.edited, self.replaced) and one.seq != claim.seq:
                    writes += self._supersede(one, claim.stamp)
            self.edited, self.replaced = claim.seq, 0
            writes.append(
                (_EDIT, (claim.stamp, bytes(send.content), claim.seq, *self._key(self.seq, self.message_id)))
            )
        elif kind == "delete":
            writes.append((_DELETE, (claim.stamp, *self._key(self.seq, self.message_id))))
            for one in list(self.things):
                writes += self._supersede(one, claim.stamp)
            self.gone, self.edited, self.replaced, self.until = True, 0, 0, 0
        else:
            for one in mine:
                writes += self._supersede(one, claim.stamp)
        if kind in _KINDS:
            self.things = [one for one in self.things if one.seq != claim.seq]
            self.things.append(
                Thing(claim.seq, send.message_id, send.sender, kind, bytes(send.content), claim.withheld)
            )
            content = None if kind == "edit" else bytes(send.content)
            writes.append(
                rows.of(
                    "about",
                    conversation=self.conversation,
                    target=self.seq,
                    seq=claim.seq,
                    message_id=send.message_id,
                    sender=send.sender,
                    kind=kind,
                    content=content,
                    withheld=claim.withheld,
                    stamp=claim.stamp,
                )
            )
        return writes

    def vanish(self, stamp: int) -> list[Statement]:
        """Empty the message, and supersede what is about it."""
        writes: list[Statement] = [(_VANISH, (stamp, *self._key(self.seq, self.message_id)))]
        for one in list(self.things):
            writes += self._supersede(one, stamp)
        return writes

    def _supersede(self, one: Thing, stamp: int) -> list[Statement]:
        self.things.remove(one)
        return [
            (_SUPERSEDE, (stamp, *self._key(one.seq, one.message_id))),
            (_FORGET, (stamp, self.conversation, self.seq, one.seq, one.message_id)),
        ]

    def _key(self, seq: int, message_id: str) -> tuple[str, int, int, str]:
        return self.conversation, seq // rows.BUCKET, seq, message_id


def _may_delete(document: Document, intervals: Sequence[Membership]) -> bool:
    """Anybody's message: in a group, who may always speak."""
    return not document.people and any(one.speaker and not one.left for one in intervals)


def target_of(conversation: str, row: EventRow, things: Sequence[Sequence[object]]) -> Target:
    """From the message's row and the rows about it."""
    return Target(
        conversation,
        row.seq,
        row.message_id,
        row.sender,
        row.kind,
        row.at,
        row.content is None,
        row.edited or 0,
        row.replaced or 0,
        bool(row.withheld),
        row.until or 0,
        VIEW_ONCE in (row.extra or b""),
        [
            Thing(seq, message_id, sender, kind, content or b"", bool(withheld))  # type: ignore[arg-type]
            for seq, message_id, sender, kind, content, withheld in things
        ],
    )


def fresh(conversation: str, send: Send, claim: Claim) -> Target:
    """Of a message that takes its number in the same list."""
    return Target(
        conversation,
        claim.seq,
        claim.message_id,
        claim.sender,
        send.kind,
        claim.at,
        False,
        0,
        0,
        claim.withheld,
        claim.until,
        VIEW_ONCE in (send.extra or b""),
    )
