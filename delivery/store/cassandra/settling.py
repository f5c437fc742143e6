"""Changes of a document behind which nothing is left that somebody else began: claims that are overdue are decided first, and
what was decided is done (:mod:`.claims`); what has to be done about a lost copy, too (:mod:`.lost`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from delivery.store.cassandra.claims import drop_ended, finish, overdue, settle
from delivery.store.cassandra.document import Claim, Document, Lost, State
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.lost import never
from delivery.store.cassandra.messages import known
from delivery.store.cassandra.session import Cassandra
from delivery.store.errors import Busy

T = TypeVar("T")


class Unsettled(Exception):
    """The document has claims that have to be ended before it can be changed."""


async def change_settled(
    session: Cassandra,
    documents: Documents,
    conversation: str,
    decide: Callable[[Document], T],
    now: int,
    before: Callable[[Document], Awaitable[None]],
    change: Callable[..., Awaitable[T | None]] | None = None,
) -> T | None:
    """:meth:`Documents.change` of a document whose overdue claims are settled first, and the end of whose lost copy is done."""
    for _ in range(4):

        async def look(document: Document) -> None:
            if overdue(document):  # mostly of another process that has had nothing to say here since
                drop_ended(
                    document, conversation, await known(session, [one.message_id for one in document.claims])
                )
            if (
                document.lost is not None
                or overdue(document)
                or any(one.state is not State.OPEN for one in document.claims)
            ):
                raise Unsettled
            await before(document)

        try:
            return await (change or documents.change)(conversation, decide, now, look)
        except Unsettled:
            await end_claims(session, documents, conversation, now)
    raise Busy("what others left behind could not be settled")


async def end_claims(session: Cassandra, documents: Documents, conversation: str, now: int) -> None:
    """Decide what is overdue, and do what was decided about claims."""
    await settle(session, documents, conversation, now)

    def look(document: Document) -> tuple[list[Claim], Lost | None]:
        raise Keep(([one for one in document.claims if one.state is not State.OPEN], document.lost))

    decided, lost = await documents.change(conversation, look, now) or ([], None)
    if lost is not None:
        await session.write(never(conversation, lost))

        def ended(document: Document) -> None:
            if document.lost != lost:
                raise Keep
            document.lost = None

        await documents.change(conversation, ended, now)
    if decided:
        await finish(session, documents, conversation, decided, now)
