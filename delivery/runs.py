"""What one sync of one session has to do and what it waits for."""

from __future__ import annotations

import asyncio

from delivery.session import Session


class Awaited:
    """The batch on the wire: which ack completes it."""

    __slots__ = ("conversation", "last", "through")

    def __init__(self, conversation: str, last: int, through: int) -> None:
        self.conversation = conversation
        self.last = last
        self.through = through


class Run:
    """One sync of one session."""

    __slots__ = ("awaited", "heads", "limit", "named", "queue", "ref", "rewritten", "since", "wake")

    def __init__(self, limit: int, ref: str) -> None:
        self.queue: list[str] = []  # conversations still to read, in order
        self.heads: dict[str, int] = {}  # what is owed up to, per conversation
        self.limit = limit
        self.awaited: Awaited | None = None
        self.since = 0
        self.wake = asyncio.Event()
        self.ref = ref
        #: Conversations that the client named: it is told even that there is nothing, and up to the head of that moment it
        #: reads everything again, what it sent itself too.
        self.named: dict[str, int] = {}
        #: Conversations in which a message was edited or deleted since the last part of a drain was asked for: what the
        #: task wrote of them may say what it said before.
        self.rewritten: set[str] = set()

    def heard(self, conversation: str, seq: int) -> None:
        """A live event of a session in a sync."""
        if self.heads.get(conversation, -1) < seq:
            if conversation not in self.queue:
                self.queue.append(conversation)
            self.heads[conversation] = seq

    def remaining(self, session: Session) -> int:
        return sum(max(0, self.heads[c] - session.sent.get(c, self.heads[c])) for c in self.queue)
