"""Copies of state documents as one process has them: how they are made, found, called back, and gone on without when they are
lost. What a copy is: :mod:`.copies`; whether it counts: :mod:`.leases`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from delivery.store.cassandra.copies import Copies, Copy
from delivery.store.cassandra.document import Document, Hot
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.lost import without_copy
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable

log = logging.getLogger(__name__)

#: Seqs that are given out on a copy before the durable document is written again.
BLOCK = 512
#: Copies that a process remembers.
_REMEMBERED = 16_384
#: A conversation has a copy made by the second append of a process within this.
WARM_S = 60.0
_PAUSE_S = 0.02


class Copied(NamedTuple):
    """What a process knows of a copy: its document as of ``version``, nothing yet while that is empty."""

    mark: Hot
    version: bytes
    document: Document | None
    at: float = 0.0  # when it was last changed or read, monotonic


class HotDocuments:
    """``known``: the copies that this process has used, the one used last at the end. ``eager``: a copy is made by the first
    append, not by the second within a while. ``makes``: else copies that others have made are only called back."""

    def __init__(
        self, session: Cassandra, leases: Leases, copies: Copies, *, eager: bool = False, makes: bool = True
    ) -> None:
        self._session = session
        self.leases = leases
        self.copies = copies
        self.known: OrderedDict[str, Copied] = OrderedDict()
        self.eager = eager
        self.makes = makes
        self._appended: OrderedDict[str, float] = OrderedDict()

    def remember(self, conversation: str, mark: Hot, version: bytes, document: Document) -> None:
        """``document`` is the copy's as of ``version``."""
        self.known[conversation] = Copied(mark, version, document, time.monotonic())
        self.known.move_to_end(conversation)
        while len(self.known) > _REMEMBERED:
            self.known.popitem(last=False)

    def forget(self, conversation: str) -> None:
        self.known.pop(conversation, None)

    async def read(self, marks: Mapping[str, Hot]) -> dict[str, Document]:
        """The copies of documents that were just read, as far as they are there and count."""
        found: dict[str, Document] = {}
        await self.leases.confirm(marks.values())
        near = [(c, mark) for c, mark in marks.items() if self.leases.holds(c, mark)]
        for (conversation, _), copy in zip(near, await self.copies.read(near), strict=True):
            # Confirmed behind the read as well: by then nobody has gone on without this copy.
            if isinstance(copy, Copy) and self.leases.holds(conversation, marks[conversation]):
                found[conversation] = copy.document
        return found

    async def over(self, marks: Iterable[Hot | None]) -> set[int]:
        """The tokens of those copies of which nobody may be told anything: their lease is not known to be open."""
        found = set()
        for mark in {mark.token: mark for mark in marks if mark is not None}.values():
            try:
                if not await self.leases.counts(mark):
                    found.add(mark.token)
            except Unavailable:
                found.add(mark.token)
        return found

    async def find(self, conversation: str, mark: Hot, deadline: float) -> Copy | None:
        """The copy of a document, None: there is none (any more). Waits for a hot node that is out of reach, until the lease of
        the copy is closed and dead."""
        while not await self.leases.gone(conversation, mark, deadline):
            (copy,) = await self.copies.read([(conversation, mark)])
            if isinstance(copy, Copy | None):
                if self.leases.holds(conversation, mark):
                    return copy
            elif self.leases.reachable(conversation, mark):
                await self.leases.close(mark)  # the node is there and says nothing
            await asyncio.sleep(_PAUSE_S)
        return None

    async def freeze(self, conversation: str, mark: Hot, copy: Copy) -> bool:
        """Whether the copy is called back, and was this one: not if another node has answered by now. Where it is not known, the
        next who finds it frozen goes on with it."""
        if not self.leases.holds(conversation, mark):
            return False
        try:
            frozen = await self.copies.freeze(conversation, mark, copy.version)
        except Unavailable:
            if self.leases.reachable(conversation, mark):
                await self.leases.close(mark)  # the node is there and takes nothing
            return False
        return frozen and self.leases.holds(conversation, mark)

    async def without(self, conversation: str, document: Document, mark: Hot, deadline: float) -> Document:
        """The copy of a document is lost, which was read before and after it was not found: end its lease, wait until nobody acts
        under it, and give what is stored of it, to be the durable document."""
        if self.leases.holds(conversation, mark):
            await self.leases.close(mark)
        while not await self.leases.gone(conversation, mark, deadline):
            await self.leases.close(mark)
        log.warning("a copy of the document of %s was lost", conversation)
        return await without_copy(self._session, conversation, document)

    async def make(self, conversation: str, document: Document) -> tuple[Hot, bytes] | None:
        """Mark a document that is about to be written as having a copy, which is made here; the copy's mark and version. None: it
        is not worth it, or cannot be done now."""
        if not self.makes or is_exceptional(document) or not self._is_warm(conversation):
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

    def _is_warm(self, conversation: str) -> bool:
        """Whether this append comes soon after another."""
        now = time.monotonic()
        last = self._appended.pop(conversation, None)
        self._appended[conversation] = now
        while len(self._appended) > _REMEMBERED:
            self._appended.popitem(last=False)
        return self.eager or (last is not None and now - last <= WARM_S)


def is_exceptional(document: Document) -> bool:
    """Whether something is going on that plain appends are not to be made around."""
    return document.lock is not None or document.intent is not None or document.lost is not None
