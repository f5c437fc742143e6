"""Reads of state documents, and their changes by compare and set.

A change is decided on a copy and written on condition that nobody changed the document meanwhile; else it is decided again. So
a decision must be pure: it may run several times, and only the last run counts. An unknown outcome is settled by reading back,
serially, whether the change's token is among the latest of the document.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from delivery.store.cassandra.document import MAX_RECENT, Document, Lock, State, pack, unpack
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable
from whatsapp.infra import clock

T = TypeVar("T")

_READ = "SELECT version, document FROM $.conversation WHERE conversation = ?"
_READ_SOME = "SELECT conversation, document FROM $.conversation WHERE conversation IN ?"
_CREATE = "INSERT INTO $.conversation (conversation, version, document) VALUES (?, 1, ?) IF NOT EXISTS"
_SWAP = "UPDATE $.conversation SET version = ?, document = ? WHERE conversation = ? IF version = ?"

#: Ids of one multi-partition read.
_READ_AT_ONCE = 32
#: Lost races of one change before the caller is told to come again.
_ATTEMPTS = 12
#: Documents kept as they were last seen, so that a change needs no read first.
_KEPT = 4_096
LOCK_MS = 10_000
#: Longest wait for a document's lock.
LOCK_WAIT_S = 5.0


class Keep(Exception):
    """Raised by a decision: nothing is to be changed, and this is the result."""

    def __init__(self, result: Any = None) -> None:
        super().__init__()
        self.result = result


class Documents:
    def __init__(self, session: Cassandra) -> None:
        self._session = session
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._holders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._settled: dict[str, set[int]] = {}

    async def read(self, ids: Iterable[str]) -> dict[str, Document]:
        """The documents of these conversations; unknown ids are absent."""
        asked = list(dict.fromkeys(ids))
        parts = [asked[i : i + _READ_AT_ONCE] for i in range(0, len(asked), _READ_AT_ONCE)]
        found = await self._session.each(_READ_SOME, [(part,) for part in parts])
        return {conversation: unpack(data) for rows in found for conversation, data in rows}

    async def create(self, conversation: str, document: Document) -> bool:
        """Whether there was none."""
        try:
            applied, _ = await self._session.swap(_CREATE, conversation, pack(document))
        except Unavailable:
            # Who creates does so under an id of its own, or does not mind who was first.
            if not await self._session.rows(_READ, conversation, serial=True):
                raise
            return True
        return applied

    async def change(
        self,
        conversation: str,
        decide: Callable[[Document], T],
        now: int,
        before: Callable[[Document], Awaitable[None]] | None = None,
    ) -> T | None:
        """Change a document by ``decide``, which mutates the copy it is given; its result, None without such a conversation.

        ``before`` is awaited with the same document ahead of each decision: what it reads was read after the document, and the
        decision counts only if the document is still that one. A decision may raise :class:`Keep`.
        """
        async with self._one_at_a_time(self._turns, conversation):
            token = secrets.randbits(62)
            fresh = False
            for attempt in range(_ATTEMPTS):
                if attempt > 1:
                    await asyncio.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 - only spreads
                seen = None if fresh else self._kept.get(conversation)
                fresh = seen is None
                if seen is None and (seen := await self._fetch(conversation)) is None:
                    return None
                version, data = seen
                document = unpack(data)
                settled = self._drop_settled(conversation, document)
                if before is not None:
                    await before(document)
                try:
                    result = decide(document)
                except Keep as keep:
                    if fresh:
                        return keep.result  # type: ignore[no-any-return]
                    fresh = self._forget(conversation)  # not to change it is decided on what is there now
                    continue
                document.recent = [*document.recent[1 - MAX_RECENT :], token]
                if await self._swap(conversation, version, document, token):
                    self._dropped(conversation, settled)
                    return result
                fresh = self._forget(conversation)
            raise Unavailable("the conversation is changed by too many at once")

    @contextlib.asynccontextmanager
    async def exclusive(
        self,
        conversation: str,
        now: int,
        before: Callable[[Document], Awaitable[None]] | None = None,
        resumes: Collection[tuple[str, str]] = (),
    ) -> AsyncIterator[Held | None]:
        """The lock of a document, for what reads rows, decides and writes rows: whoever else takes it waits. None without such a
        conversation. Plain appends do not take it and go on meanwhile.

        Whoever holds it sees no half-done change of rows: claims that change other rows are settled first, but those of the
        messages ``resumes`` (sender, message id). ``before``: as of :meth:`change`.
        """
        mine = self._one_at_a_time(self._holders, conversation)
        try:
            async with asyncio.timeout(2 * LOCK_WAIT_S):
                await mine.acquire()  # those of one process do not race each other
        except TimeoutError:
            raise Unavailable("other operations hold the conversation") from None
        try:
            token = secrets.randbits(62)
            taken = await self._take(conversation, token, now, before, resumes)
            if not taken:
                yield None
                return
            held = Held(self, conversation, token, now)
            try:
                yield held
            finally:
                await held.release()
        finally:
            mine.release()

    async def _take(
        self,
        conversation: str,
        token: int,
        now: int,
        before: Callable[[Document], Awaitable[None]] | None,
        resumes: Collection[tuple[str, str]],
    ) -> bool:
        """Wait for the lock; False without such a conversation."""

        def take(document: Document) -> bool:
            clock_ms = clock.now_ms()
            if document.lock is not None and document.lock.until > clock_ms:
                raise Keep(False)
            for claim in document.claims:
                if claim.amends and claim.state is State.OPEN and claim.key not in resumes:
                    raise Keep(False)
            document.lock = Lock(token, clock_ms + LOCK_MS)
            return True

        deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
        pause = 0.005
        while True:
            taken = await self.change(conversation, take, now, before)
            if taken is None:
                return False
            if taken:
                return True
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("another operation holds the conversation")
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - only spreads
            pause = min(pause * 1.5, 0.1)

    def settled(self, conversation: str, seqs: Iterable[int]) -> None:
        """The rows of these claims are durable, those by message id too: the next change drops them."""
        self._settled.setdefault(conversation, set()).update(seqs)
        if len(self._settled) > _KEPT * 4:
            self._settled.pop(
                next(iter(self._settled))
            )  # whoever meets those claims finds that they are durable

    def _drop_settled(self, conversation: str, document: Document) -> set[int]:
        settled = self._settled.get(conversation)
        if not settled:
            return set()
        document.claims = [claim for claim in document.claims if claim.seq not in settled]
        return set(settled)

    def _dropped(self, conversation: str, settled: set[int]) -> None:
        left = self._settled.get(conversation)
        if left is not None:
            left -= settled
            if not left:
                del self._settled[conversation]

    def _one_at_a_time(
        self, locks: WeakValueDictionary[str, asyncio.Lock], conversation: str
    ) -> asyncio.Lock:
        lock = locks.get(conversation)
        if lock is None:
            lock = locks[conversation] = asyncio.Lock()
        return lock

    def _forget(self, conversation: str) -> bool:
        self._kept.pop(conversation, None)
        return True

    async def _fetch(self, conversation: str) -> tuple[int, bytes] | None:
        rows = await self._session.rows(_READ, conversation)
        if not rows:
            return None
        version, data = rows[0]
        return version, data

    async def _swap(self, conversation: str, version: int, document: Document, token: int) -> bool:
        data = pack(document)
        self._forget(conversation)
        try:
            applied, _ = await self._session.swap(_SWAP, version + 1, data, conversation, version)
        except Unavailable:
            return await self._was_applied(conversation, version, token)
        if applied:
            self._kept[conversation] = (version + 1, data)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return applied

    async def _was_applied(self, conversation: str, version: int, token: int) -> bool:
        """A serial read ends what is under way: afterwards a change is there or will never be, or loses against the next."""
        rows = await self._session.rows(_READ, conversation, serial=True)
        if not rows:
            return False
        there, data = rows[0]
        if token in unpack(data).recent:
            return True
        if there - version >= MAX_RECENT:
            raise Unavailable("too much has changed to say whether this did")
        return False


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
        """Change the document, as long as the lock is held: raises :class:`Unavailable` when it was lost."""

        def checked(document: Document) -> T:
            if document.lock is None or document.lock.token != self._token:
                raise Unavailable("the conversation's lock was lost")
            return decide(document)

        def kept(document: Document) -> tuple[T]:
            try:
                return (checked(document),)
            except Keep as keep:
                raise Keep((keep.result,)) from None

        changed = await self._documents.change(self._conversation, kept, self._now, before)
        if changed is None:
            raise Unavailable("the conversation is gone")
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
