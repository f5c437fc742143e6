"""What a check of fsck is, how a conversation is mended, and the checks of what the dead have left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

from delivery.store.cassandra import rows
from delivery.store.cassandra.changes import finish
from delivery.store.cassandra.document import Claim, Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.fsck_state import ON_ITS_WAY_MS, LogRow, Seen
from delivery.store.cassandra.lock import LOCK_MS, Held
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.settling import end_claims
from delivery.store.interface import Unavailable

#: Numbers that are given up at most, when somebody has acknowledged what is not there.
GIVE_UP: Final = 65_536
#: How far clocks of gateways may differ.
SKEW_MS: Final = 60_000


class Mending:
    """How a conversation is mended, while its lock is held."""

    def __init__(self, db: Cassandra, documents: Documents, held: Held | None, seen: Seen) -> None:
        self.db, self.documents, self.seen = db, documents, seen
        self._held = held

    async def change(self, decide: Callable[[Document], Any]) -> Any:
        if self._held is not None:
            return await self._held.change(decide)
        return await self.documents.change(self.seen.conversation, decide, self.seen.now)

    async def stamp(self) -> int:
        """A timestamp above all of the conversation, if what was seen of it is still so; what comes later is above it. Raises
        ``Unavailable`` when it is not, or when the lock was lost."""

        def decide(document: Document) -> int:
            if quiet(document) != quiet(self.seen.document):
                raise Unavailable("the conversation has changed meanwhile")
            return document.next_stamp(self.seen.now)

        return int(await self.change(decide))

    def key(self, row: LogRow) -> tuple[str, int, int, str]:
        return self.seen.conversation, row.seq // rows.BUCKET, row.seq, row.message_id


def quiet(document: Document) -> tuple[Any, ...]:
    """What no message moves."""
    intent = document.intent.stamp if document.intent is not None else 0
    active = [(member, block.active) for member, block in sorted(document.blocks.items())]
    return document.roster_seq, document.members, intent, document.floor, active, document.people


class Wrong(NamedTuple):
    """``mend`` may be called again."""

    kind: str
    values: dict[str, Any]
    mend: Callable[[Mending], Awaitable[Any]]


Check = Callable[[Seen], Iterator[Wrong]]


def raised(head: int, ordinal: int = 0, stamp: int = 0) -> Callable[[Document], None]:
    """The change that gives out no number up to ``head`` any more."""

    def decide(document: Document) -> None:
        if document.head >= head and document.stamp >= stamp:
            raise Keep
        document.head = max(document.head, head)
        document.ordinal = max(document.ordinal, ordinal)
        document.stamp = max(document.stamp, stamp)

    return decide


# -- what others left behind: looked at without the lock, which it may hold up ------------------------------------------------


def claim_overdue(seen: Seen) -> Iterator[Wrong]:
    """A number was given out a minute ago, and nobody has said what became of it."""
    for claim in seen.claims:

        async def mend(at: Mending, claim: Claim = claim) -> None:
            await end_claims(at.db, at.documents, at.seen.conversation, at.seen.now)
            # And they are dropped.
            await at.change(lambda document: document.next_stamp(at.seen.now))

        yield Wrong("claim.overdue", {"seq": claim.seq, "state": claim.state.name.lower()}, mend)


def intent_abandoned(seen: Seen) -> Iterator[Wrong]:
    intent = seen.document.intent
    if intent is not None and intent.began_at < seen.now - ON_ITS_WAY_MS:

        async def mend(at: Mending) -> None:
            await finish(at.db, at.documents, at.seen.conversation, intent)

        yield Wrong("intent.abandoned", {"seq": intent.steps[0].seq}, mend)


def lock_endless(seen: Seen) -> Iterator[Wrong]:
    lock = seen.document.lock
    if lock is not None and lock.until > seen.now + LOCK_MS + SKEW_MS:

        def decide(document: Document) -> None:
            if document.lock is None or document.lock.token != lock.token:
                raise Keep
            document.lock = None

        yield Wrong("lock.endless", {"until": lock.until}, lambda at: at.change(decide))


LEFT_BEHIND: Final[tuple[Check, ...]] = (lock_endless, claim_overdue, intent_abandoned)
