"""The lock of a document, for what reads rows, decides and writes rows. Plain appends do not take it and go on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TypeVar

from delivery.store.cassandra import clocks
from delivery.store.cassandra.document import Document, Lock, State
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.errors import Busy
from delivery.store.interface import Unavailable

T = TypeVar("T")

LOCK_MS = 10_000
#: Longest wait for a document's lock.
LOCK_WAIT_S = 5.0


@contextlib.asynccontextmanager
async def exclusive(
    documents: Documents,
    conversation: str,
    now: int,
    before: Callable[[Document], Awaitable[None]] | None = None,
    resumes: Collection[tuple[str, str]] = (),
) -> AsyncIterator[Held | None]:
    """The lock of a document: whoever else takes it waits. None without such a conversation.

    Whoever holds it sees no half-done change of rows: claims that change other rows are settled first, but those of the
    messages ``resumes`` (sender, message id). ``before``: as of :meth:`Documents.change`.
    """
    mine = documents.holder(conversation)
    try:
        async with asyncio.timeout(2 * LOCK_WAIT_S):
            await mine.acquire()  # those of one process do not race each other
    except TimeoutError:
        raise Unavailable("other operations hold the conversation") from None
    try:
        token = secrets.randbits(62)
        taken = await _take(documents, conversation, token, now, before, resumes)
        if not taken:
            yield None
            return
        held = Held(documents, conversation, token, now)
        try:
            yield held
        finally:
            await held.release()
    finally:
        mine.release()


async def _take(
    documents: Documents,
    conversation: str,
    token: int,
    now: int,
    before: Callable[[Document], Awaitable[None]] | None,
    resumes: Collection[tuple[str, str]],
) -> bool:
    """Wait for the lock; False without such a conversation."""

    def take(document: Document) -> bool:
        if document.lock is not None and document.lock.until > clocks.earliest_ms():
            raise Keep(False)
        for claim in document.claims:
            if claim.amends and claim.state is State.OPEN and claim.key not in resumes:
                raise Keep(False)
        document.lock = Lock(token, clocks.latest_ms() + LOCK_MS)
        return True

    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    pause = 0.005
    while True:
        taken = await documents.change(conversation, take, now, before)
        if taken is None:
            return False
        if taken:
            return True
        if asyncio.get_running_loop().time() > deadline:
            raise Busy("another operation holds the conversation")
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - only spreads
        pause = min(pause * 1.5, 0.1)


class Held:
    """A document's lock, held."""

    def __init__(self, documents: Documents, conversation: str, token: int, now: int) -> None:
        self._documents = documents
        self._token = token
        self._conversation = conversation
        self._now = now

    async def change(
        self, decide: Callable[[Document], T], before: Callable[[Document], Awaitable[None]] | None = None
    ) -> T:
        """Change the document, as long as the lock is held: raises :class:`Busy` when it was lost."""

        def checked(document: Document) -> T:
            if document.lock is None or document.lock.token != self._token:
                raise Busy("the conversation's lock was lost")
            return decide(document)

        def kept(document: Document) -> tuple[T]:
            try:
                return (checked(document),)
            except Keep as keep:
                raise Keep((keep.result,)) from None

        changed = await self._documents.change(self._conversation, kept, self._now, before)
        if changed is None:
            raise Busy("the conversation is gone")
        return changed[0]

    async def read(self) -> Document:
        """The document as it is now."""

        def look(document: Document) -> Document:
            raise Keep(document)

        return await self.change(look)

    async def release(self) -> None:
        """Give it back; when that fails it ends by itself."""

        def give(document: Document) -> None:
            if document.lock is None or document.lock.token != self._token:
                raise Keep
            document.lock = None

        with contextlib.suppress(Unavailable):
            await self._documents.change(self._conversation, give, self._now)
