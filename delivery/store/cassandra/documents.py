"""Reads of state documents, and their changes by compare and set.

A change is decided on a copy and written on condition that nobody changed the document meanwhile; else it is decided again. So
a decision must be pure: it may run several times, and only the last run counts. An unknown outcome is settled by reading back,
serially, whether the change's token is among the latest of the document.

A document may have a copy on the hot node (:mod:`.copies`), which plain appends change instead (:mod:`.hot`). Whatever else is
changed calls the copy back first: it is frozen, and what it says becomes the durable document with the change. So a reader, too,
reads the document and then its copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from delivery.store.cassandra.copies import Copies, Copy
from delivery.store.cassandra.document import MAX_RECENT, Document, Hot, Lock, State, pack, unpack
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.lost import without_copy
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.interface import Unavailable
from whatsapp.infra import clock

T = TypeVar("T")

log = logging.getLogger(__name__)

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
#: Longest wait for a copy that is out of reach, or for the end of its lease: below what an append may take (10 s).
COPY_WAIT_S = 8.0
#: Seqs that are given out on a copy before the durable document is written again.
BLOCK = 512
#: Copies that a process remembers.
_COPIES = 16_384
#: A conversation has a copy made by the second append of a process within this.
WARM_S = 60.0
#: A copy that its process has not used for so long is called back; so many are looked at a time.
COOL_S = 300.0
COOL_AT_ONCE = 32


class Keep(Exception):
    """Raised by a decision: nothing is to be changed, and this is the result."""

    def __init__(self, result: Any = None) -> None:
        super().__init__()
        self.result = result


class IsHot(Exception):
    """The document has a copy that plain appends are to be made on."""


class Copied(NamedTuple):
    """What a process knows of a copy: its document as of ``version``, nothing yet while that is empty."""

    mark: Hot
    version: bytes
    document: Document | None
    at: float = 0.0  # when it was last changed or read, monotonic


class Documents:
    """``leases`` and ``copies``: of the hot node, None: without copies. Both or none. ``eager``: a copy is made by the first
    append, not by the second within a while."""

    def __init__(
        self,
        session: Cassandra,
        leases: Leases | None = None,
        copies: Copies | None = None,
        *,
        eager: bool = False,
    ) -> None:
        self._session = session
        self.leases = leases
        self.copies = copies
        self.copied: OrderedDict[str, Copied] = OrderedDict()
        self.eager = eager
        self._appended: OrderedDict[str, float] = OrderedDict()
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._holders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._settled: dict[str, set[int]] = {}

    async def read(self, ids: Iterable[str]) -> dict[str, Document]:
        """The documents of these conversations; unknown ids are absent."""
        asked = list(dict.fromkeys(ids))
        parts = [asked[i : i + _READ_AT_ONCE] for i in range(0, len(asked), _READ_AT_ONCE)]
        found = await self._session.each(_READ_SOME, [(part,) for part in parts])
        there = {conversation: unpack(data) for rows in found for conversation, data in rows}
        hot = {c: document.hot for c, document in there.items() if document.hot is not None}
        if hot:
            there |= await self._read_copies(hot)
        return there

    async def _read_copies(self, marks: dict[str, Hot]) -> dict[str, Document]:
        """The copies of documents that were just read."""
        found: dict[str, Document] = {}
        if self.copies is not None and self.leases is not None:
            await self.leases.confirm(marks.values())
            near = [(c, mark.token) for c, mark in marks.items() if self.leases.holds(c, mark)]
            for (conversation, _), copy in zip(near, await self.copies.read(near), strict=True):
                # Confirmed behind the read as well: by then nobody has gone on without this copy.
                if isinstance(copy, Copy) and self.leases.holds(conversation, marks[conversation]):
                    found[conversation] = copy.document

        def look(document: Document) -> Document:
            raise Keep(document)

        now = clock.now_ms()
        missing = [conversation for conversation in marks if conversation not in found]
        for conversation in missing:
            self._forget(conversation)
        for conversation, document in zip(
            missing, await gather(self.change(c, look, now) for c in missing), strict=True
        ):
            if document is not None:
                found[conversation] = document
        return found

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
        *,
        plain: Callable[[Document], bool] | None = None,
    ) -> T | None:
        """Change a document by ``decide``, which mutates the copy it is given; its result, None without such a conversation.

        ``before`` is awaited with the same document ahead of each decision: what it reads was read after the document, and the
        decision counts only if the document is still that one. A decision may raise :class:`Keep`.

        ``plain``: it is an append of messages, which makes a copy on the hot node for those that follow; raises :class:`IsHot` if
        there is one of which this says that it is to be made on that.
        """
        async with self._one_at_a_time(self._turns, conversation):
            token = secrets.randbits(62)
            fresh = False
            deadline = asyncio.get_running_loop().time() + COPY_WAIT_S
            for attempt in range(_ATTEMPTS):
                if attempt > 1:
                    await asyncio.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 - only spreads
                seen = None if fresh else self._kept.get(conversation)
                fresh = seen is None
                if seen is None and (seen := await self._fetch(conversation)) is None:
                    return None
                version, data = seen
                document = unpack(data)
                mark, copy = document.hot, None
                if mark is not None:
                    copy = await self._copy(conversation, mark, deadline)
                    if copy is None:
                        if fresh:
                            again = await self._fetch(conversation)
                            if again is not None and again[0] == version:
                                await self._go_on_without(conversation, version, document, mark, deadline)
                        fresh = self._forget(conversation)
                        continue
                    document = copy.document
                    if plain is not None and not copy.frozen and plain(document):
                        self.remember(conversation, mark, copy.version, document)
                        raise IsHot
                settled = self._drop_settled(conversation, document)
                if before is not None:
                    await before(document)
                try:
                    result = decide(document)
                except Keep as keep:
                    # A copy that nobody has called back is what is there now.
                    if fresh or (copy is not None and not copy.frozen):
                        return keep.result  # type: ignore[no-any-return]
                    fresh = self._forget(conversation)  # not to change it is decided on what is there now
                    continue
                if mark is not None and copy is not None:
                    if not copy.frozen and not await self._freeze(conversation, mark, copy):
                        continue
                    document.hot = None
                    self.copied.pop(conversation, None)
                document.recent = [*document.recent[1 - MAX_RECENT :], token]
                made = await self._make_copy(conversation, document) if plain is not None else None
                done = await self._swap(conversation, version, document, token)
                if made is not None:
                    if done:
                        self.remember(conversation, *made, document)
                    elif self.copies is not None:
                        await self.copies.drop(conversation, made[0].token)
                if done:
                    if mark is not None and self.copies is not None:
                        await self.copies.drop(conversation, mark.token)
                    self._dropped(conversation, settled)
                    return result
                fresh = self._forget(conversation)
            raise Unavailable("the conversation is changed by too many at once")

    # -- copies

    def remember(self, conversation: str, mark: Hot, version: bytes, document: Document) -> None:
        """``document`` is the copy's as of ``version``."""
        self.copied[conversation] = Copied(mark, version, document, time.monotonic())
        self.copied.move_to_end(conversation)
        while len(self.copied) > _COPIES:
            self.copied.popitem(last=False)

    async def over(self, documents: Iterable[Document]) -> set[int]:
        """The tokens of those copies of which nobody may be told anything: their lease is not known to be open."""
        marks = {document.hot.token: document.hot for document in documents if document.hot is not None}
        if not marks or self.leases is None:
            return set()
        found = set()
        for token, mark in marks.items():
            try:
                if not await self.leases.counts(mark):
                    found.add(token)
            except Unavailable:
                found.add(token)
        return found

    async def _copy(self, conversation: str, mark: Hot, deadline: float) -> Copy | None:
        """The copy of a document, None: there is none (any more). Waits for a hot node that is out of reach, until the lease of
        the copy is closed and dead."""
        if self.leases is None or self.copies is None:
            raise Unavailable("the conversation has a copy on a hot node that this process does not know")
        while not await self.leases.gone(conversation, mark, deadline):
            (copy,) = await self.copies.read([(conversation, mark.token)])
            if isinstance(copy, Copy | None) and self.leases.holds(conversation, mark):
                return copy
            await asyncio.sleep(0.02)
        return None

    async def _freeze(self, conversation: str, mark: Hot, copy: Copy) -> bool:
        """Whether the copy is called back, and was this one: not if another node has answered by now."""
        assert self.leases is not None
        assert self.copies is not None
        if not self.leases.holds(conversation, mark):
            return False
        try:
            frozen = await self.copies.freeze(conversation, mark.token, copy.version)
        except Unavailable:
            if self.leases.reachable(conversation, mark):
                await self.leases.close(mark)  # the node is there and takes nothing
            raise
        return frozen and self.leases.holds(conversation, mark)

    async def _go_on_without(
        self, conversation: str, version: int, document: Document, mark: Hot, deadline: float
    ) -> None:
        """The copy of a document is lost, which was read before and after it was not found: end its lease, wait until nobody acts
        under it, and make what is stored of it the durable document."""
        assert self.leases is not None
        if self.leases.holds(conversation, mark):
            await self.leases.close(mark)
        while not await self.leases.gone(conversation, mark, deadline):
            await self.leases.close(mark)
        log.warning("a copy of the document of %s was lost", conversation)
        found = await without_copy(self._session, conversation, document)
        token = secrets.randbits(62)
        found.recent = [*found.recent[1 - MAX_RECENT :], token]
        await self._swap(conversation, version, found, token)

    async def _make_copy(self, conversation: str, document: Document) -> tuple[Hot, bytes] | None:
        """Mark a document that is about to be written as having a copy, which is made here; the copy's mark and version. None: it
        is not worth it, or cannot be done now."""
        if self.leases is None or self.copies is None or is_exceptional(document):
            return None
        now = time.monotonic()
        last = self._appended.pop(conversation, None)
        self._appended[conversation] = now
        while len(self._appended) > _COPIES:
            self._appended.popitem(last=False)
        if not self.eager and (last is None or now - last > WARM_S):
            return None
        lease = await self.leases.usable(conversation)
        if lease is None:
            return None
        document.hot = Hot(secrets.randbits(62), *lease, document.given + BLOCK)
        try:
            version = await self.copies.put(conversation, document)
        except Unavailable:
            document.hot = None
            return None
        return document.hot, version

    async def cool(self) -> None:
        """Call copies back that this process has not used for a while, some at a time."""
        before = time.monotonic() - COOL_S
        idle = [c for c, one in itertools.islice(self.copied.items(), COOL_AT_ONCE) if one.at < before]
        for conversation in idle:
            del self.copied[conversation]
            with contextlib.suppress(Unavailable):
                await self.change(conversation, _as_it_is, clock.now_ms())

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

    def drop_settled(self, conversation: str, document: Document) -> set[int]:
        """Take the claims out that are settled; :meth:`dropped` is to be told when that is written."""
        return self._drop_settled(conversation, document)

    def dropped(self, conversation: str, settled: set[int]) -> None:
        self._dropped(conversation, settled)

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


def _as_it_is(document: Document) -> None:
    """A change that only calls a copy back."""
    if document.hot is None:
        raise Keep


def is_exceptional(document: Document) -> bool:
    """Whether something is going on that plain appends are not to be made around."""
    return document.lock is not None or document.intent is not None or document.lost is not None


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
