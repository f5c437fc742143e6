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
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from delivery.store.cassandra.copied import HotDocuments
from delivery.store.cassandra.copies import Copy
from delivery.store.cassandra.document import MAX_RECENT, Document, Hot, pack, unpack
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.errors import Busy
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
#: Longest wait for a copy that is out of reach, or for the end of its lease: below what an append may take (10 s).
COPY_WAIT_S = 8.0
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


class _There(NamedTuple):
    """A document as it is now: the durable one, or what its copy says, whose mark the durable one has."""

    document: Document
    mark: Hot | None = None
    copy: Copy | None = None


class Documents:
    """``hot``: copies on the hot node; None: without, and a document that has one is ``Unavailable``."""

    def __init__(self, session: Cassandra, hot: HotDocuments | None = None) -> None:
        self._session = session
        self.hot = hot
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
        found = await self.hot.read(marks) if self.hot is not None else {}

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
        async with _one_at_a_time(self._turns, conversation):
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
                there = await self._there(conversation, seen, deadline, fresh=fresh)
                if there is None:
                    fresh = self._forget(conversation)
                    continue
                copied = there.copy is not None and not there.copy.frozen
                if plain is not None and copied and plain(there.document):
                    self._use(conversation, there)
                settled = self.drop_settled(conversation, there.document)
                if before is not None:
                    await before(there.document)
                try:
                    result = decide(there.document)
                except Keep as keep:
                    # A copy that nobody has called back is what is there now.
                    if fresh or copied:
                        return keep.result  # type: ignore[no-any-return]
                    fresh = self._forget(conversation)  # not to change it is decided on what is there now
                    continue
                if copied and not await self._freeze(conversation, there):
                    continue
                if await self._write(conversation, seen[0], there, token, plain=plain is not None):
                    self.dropped(conversation, settled)
                    return result
                fresh = self._forget(conversation)
            raise Busy("the conversation is changed by too many at once")

    async def _there(
        self, conversation: str, seen: tuple[int, bytes], deadline: float, *, fresh: bool
    ) -> _There | None:
        """What ``seen`` or its copy says; None: that is to be read again."""
        version, data = seen
        document = unpack(data)
        mark = document.hot
        if mark is None:
            return _There(document)
        if self.hot is None:
            raise Busy("the conversation has a copy on a hot node that this process does not know")
        copy = await self.hot.find(conversation, mark, deadline)
        if copy is not None:
            return _There(copy.document, mark, copy)
        if fresh:
            again = await self._fetch(conversation)
            if again is not None and again[0] == version:
                found = await self.hot.without(conversation, document, mark, deadline)
                token = secrets.randbits(62)
                _note(found, token)
                await self._swap(conversation, version, found, token)
        return None

    def _use(self, conversation: str, there: _There) -> None:
        """Raises :class:`IsHot`, if this process uses copies at all."""
        assert self.hot is not None
        assert there.mark is not None
        assert there.copy is not None
        if self.hot.makes:
            self.hot.remember(conversation, there.mark, there.copy.version, there.document)
            raise IsHot

    async def _freeze(self, conversation: str, there: _There) -> bool:
        assert self.hot is not None
        assert there.mark is not None
        assert there.copy is not None
        return await self.hot.freeze(conversation, there.mark, there.copy)

    async def _write(
        self, conversation: str, version: int, there: _There, token: int, *, plain: bool
    ) -> bool:
        """Whether the document is the durable one now. Its copy was called back; ``plain``: another may be made."""
        document = there.document
        if there.mark is not None and self.hot is not None:
            document.hot = None
            self.hot.forget(conversation)
        _note(document, token)
        made = await self.hot.make(conversation, document) if plain and self.hot is not None else None
        done = await self._swap(conversation, version, document, token)
        if self.hot is None:
            return done
        if made is not None:
            if done:
                self.hot.remember(conversation, *made, document)
            else:
                await self.hot.copies.drop(conversation, made[0].token)
        if done and there.mark is not None:
            await self.hot.copies.drop(conversation, there.mark.token)
        return done

    async def cool(self) -> None:
        """Call copies back that this process has not used for a while, some at a time."""
        if self.hot is None:
            return
        before = time.monotonic() - COOL_S
        known = self.hot.known
        idle = [c for c, one in itertools.islice(known.items(), COOL_AT_ONCE) if one.at < before]
        for conversation in idle:
            del known[conversation]
            with contextlib.suppress(Unavailable):
                await self.recall(conversation)

    async def token(self, conversation: str) -> int:
        """The token of the copy that a document names, 0: none; whatever is under way is settled by this."""
        rows = await self._session.rows(_READ, conversation, serial=True)
        mark = unpack(rows[0][1]).hot if rows else None
        return mark.token if mark is not None else 0

    async def recall(self, conversation: str) -> None:
        """Call the copy of a document back, if it has one. Raises :class:`Unavailable`."""
        await self.change(conversation, _as_it_is, clock.now_ms())

    def settled(self, conversation: str, seqs: Iterable[int]) -> None:
        """The rows of these claims are durable, those by message id too: the next change drops them."""
        self._settled.setdefault(conversation, set()).update(seqs)
        if len(self._settled) > _KEPT * 4:
            self._settled.pop(
                next(iter(self._settled))
            )  # whoever meets those claims finds that they are durable

    def drop_settled(self, conversation: str, document: Document) -> set[int]:
        """Take the claims out that are settled; :meth:`dropped` is to be told when that is written."""
        settled = self._settled.get(conversation)
        if not settled:
            return set()
        document.claims = [claim for claim in document.claims if claim.seq not in settled]
        return set(settled)

    def dropped(self, conversation: str, settled: set[int]) -> None:
        left = self._settled.get(conversation)
        if left is not None:
            left -= settled
            if not left:
                del self._settled[conversation]

    def holder(self, conversation: str) -> asyncio.Lock:
        """Who of this process may ask for the document's lock (:mod:`.lock`)."""
        return _one_at_a_time(self._holders, conversation)

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
            raise Busy("too much has changed to say whether this did")
        return False


def _as_it_is(document: Document) -> None:
    """A change that only calls a copy back."""
    if document.hot is None:
        raise Keep


def _note(document: Document, token: int) -> None:
    """Its copies remember the change, too."""
    document.recent = [*document.recent[1 - MAX_RECENT :], token]


def _one_at_a_time(locks: WeakValueDictionary[str, asyncio.Lock], conversation: str) -> asyncio.Lock:
    lock = locks.get(conversation)
    if lock is None:
        lock = locks[conversation] = asyncio.Lock()
    return lock
