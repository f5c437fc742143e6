"""How far devices are.

A position is written without a read, with its value as its timestamp: it only rises. It is kept under the device's life
(:mod:`delivery.store.cassandra.devices`), which a process remembers for a while, so that to save costs one write.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final

from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.owed import owed
from delivery.store.cassandra.receipts import written
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.values import Behind, Position, PositionWrite, ReceiptWrite

#: How long a device's life is believed to be the present one, ms. A session reads it when it opens, so only a device that is
#: unlinked and linked again behind its own session's back could lose positions meanwhile; it would be sent those events again.
_BELIEVED_MS: Final = 60_000
_KEPT: Final = 65_536

_LINK = "SELECT link FROM $.device WHERE member = ? AND device = ?"
_LINKED = "SELECT link, ended FROM $.linked WHERE device = ?"
_ALL = "SELECT conversation, acked, expired FROM $.position WHERE device = ? AND link = ?"
_SOME = _ALL + " AND conversation IN ?"
_ACKED = (
    "UPDATE $.position USING TIMESTAMP ? SET acked = ? WHERE device = ? AND link = ? AND conversation = ?"
)
_EXPIRED = (
    "UPDATE $.position USING TIMESTAMP ? SET expired = ? WHERE device = ? AND link = ? AND conversation = ?"
)


def acked(device: str, link: int, conversation: str, seq: int) -> Statement:
    """The statement that raises a position."""
    return _ACKED, (seq, seq, device, link, conversation)


def expired(device: str, link: int, conversation: str, seq: int) -> Statement:
    """The statement that says up to where events went unread."""
    return _EXPIRED, (seq, seq, device, link, conversation)


async def stored(
    db: Cassandra, device: str, link: int, only: Collection[str] | None = None
) -> dict[str, tuple[int, int]]:
    """By conversation what is acknowledged and what expired, 0 where nothing was written."""
    if only is None:
        rows = await db.rows(_ALL, device, link)
    else:
        rows = await db.rows(_SOME, device, link, list(only)) if only else []
    return {conversation: (at or 0, gone or 0) for conversation, at, gone in rows}


class Positions:
    """Of one process."""

    def __init__(self, db: Cassandra, documents: Documents) -> None:
        self._db = db
        self._documents = documents
        self._links: OrderedDict[str, tuple[int, int]] = OrderedDict()  # device → link (0: none), read at

    async def positions(self, user: str, device: str, conversations: Sequence[str]) -> dict[str, Position]:
        """See :meth:`Store.positions`. Empty for a device that is not linked."""
        if not conversations or not (link := await self._link_of(user, device)):
            return {}
        there = await stored(self._db, device, link, dict.fromkeys(conversations))
        found = await owed(self._db, self._documents, user, conversations)
        result = {}
        for conversation, of in found.items():
            at, gone = there.get(conversation, (0, 0))
            result[conversation] = Position(max(at, of.start), of.last, gone)
        return result

    async def behind(self, user: str, device: str) -> list[Behind]:
        """See :meth:`Store.behind`. Empty for a device that is not linked."""
        if not (link := await self._link_of(user, device)):
            return []
        there = await stored(self._db, device, link)
        result = []
        for conversation, of in (await owed(self._db, self._documents, user)).items():
            at = max(there.get(conversation, (0, 0))[0], of.start)
            if of.last > max(at, of.document.floor):
                result.append(Behind(conversation, of.last, at))
        return result

    async def save(self, acks: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int) -> None:
        """See :meth:`Store.save`."""
        highest: dict[tuple[str, str], int] = {}
        for device, conversation, seq in acks:
            highest[device, conversation] = max(highest.get((device, conversation), 0), seq)
        links = await self._links_of({device for device, _ in highest}, now)
        statements = [
            acked(device, links[device], conversation, seq)
            for (device, conversation), seq in sorted(highest.items())
            if links[device] and seq
        ]
        await self._db.write(statements + written(receipts, now))

    async def _link_of(self, user: str, device: str) -> int:
        """Read anew: who opens a session begins with this."""
        rows = await self._db.rows(_LINK, user, device)
        if not rows:
            self._links.pop(device, None)
            return 0
        link: int = rows[0][0]
        known = self._links.get(device)
        if known is None or known[0] != link:
            self._links.pop(device, None)
        return link

    async def _links_of(self, devices: Collection[str], now: int) -> dict[str, int]:
        links: dict[str, int] = {}
        unknown = []
        for device in devices:
            known = self._links.get(device)
            if known is not None and 0 <= now - known[1] < _BELIEVED_MS:
                links[device] = known[0]
            else:
                unknown.append(device)
        for device, rows in zip(
            unknown, await self._db.each(_LINKED, [(one,) for one in unknown]), strict=True
        ):
            link, ended = rows[0] if rows else (0, True)
            links[device] = link if not ended else 0
            if links[device]:
                self._links[device] = (link, now)
                self._links.move_to_end(device)
        while len(self._links) > _KEPT:
            self._links.popitem(last=False)
        return links
