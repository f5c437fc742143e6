"""Message requests: who has not accepted the other user of a direct conversation yet stands in its document."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.receipts import marks_of, renewed
from delivery.store.cassandra.roster import directs
from delivery.store.cassandra.session import Cassandra
from whatsapp.infra import clock


async def request(documents: Documents, conversation: str, users: Sequence[str]) -> None:
    """See :meth:`Store.request`."""

    def decide(document: Document) -> None:
        waiting = sorted({*document.unaccepted, *(user for user in users if user in document.people)})
        if waiting == document.unaccepted:
            raise Keep
        document.unaccepted = waiting

    if users:
        await documents.change(conversation, decide, clock.now_ms())


async def accept(
    db: Cassandra,
    documents: Documents,
    user: str,
    now: int,
    conversations: Sequence[str],
    others: Sequence[str],
) -> list[tuple[str, str]]:
    """See :meth:`Store.accept`."""
    asked = dict.fromkeys(conversations)
    if others:
        asked.update(dict.fromkeys(await directs(db, [(user, other) for other in others])))
    asked.pop("", None)
    found = await documents.read(asked)
    accepted = []
    for conversation, document in found.items():
        if user in document.unaccepted and await _accept(db, documents, conversation, user, now):
            accepted += [(conversation, other) for other in document.people if other != user]
    return accepted


async def _accept(db: Cassandra, documents: Documents, conversation: str, user: str, now: int) -> bool:
    def decide(document: Document) -> bool:
        if user not in document.unaccepted:
            raise Keep(False)
        document.unaccepted.remove(user)
        return True

    # Before, in case this process ends in between; and after, for who has read receipts since.
    await tell(db, conversation, user, now)
    done = await documents.change(conversation, decide, now)
    await tell(db, conversation, user, now)
    return bool(done)


async def tell(db: Cassandra, conversation: str, user: str, now: int) -> None:
    """To the other user, who was told nothing so far, all of the user's receipt is new."""
    (mark,) = await marks_of(db, [(conversation, user)])
    if mark.delivered or mark.read:
        await db.write(renewed(conversation, user, now, True))


async def unaccepted(db: Cassandra, documents: Documents, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """See :meth:`delivery.store.pending.Elsewhere.unaccepted`."""
    ids = await directs(db, pairs)
    found = await documents.read(filter(None, ids))
    return [
        conversation in found and member in found[conversation].unaccepted
        for conversation, (member, _) in zip(ids, pairs, strict=True)
    ]
