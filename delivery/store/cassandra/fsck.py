"""What ``manage.py fsck`` asks of a log on Cassandra, by conversation: the same idea as :mod:`delivery.store.fsck`.

A look reads many conversations without a lock. What looks wrong is looked at again under the lock of its document, which holds
off everything that reads rows before it changes them; plain appends go on, and their claims say so. Rows are mended by
timestamps that the document gives out for it, so whatever comes later is not undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.fsck_check import LEFT_BEHIND, Check, Mending, Wrong, quiet
from delivery.store.cassandra.fsck_log import LOG
from delivery.store.cassandra.fsck_roster import ROSTER
from delivery.store.cassandra.fsck_state import Seen, load
from delivery.store.cassandra.lock import Held, exclusive
from delivery.store.cassandra.outbox import everybody
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable

#: Conversations that are read side by side.
_TOGETHER: Final = 8
#: Mending one thing may show the next of its kind.
_ROUNDS: Final = 3
_ATTEMPTS: Final = 5
#: Outbox rows of one writer that are looked at for what changed lately: its newest ones.
_NEWEST: Final = 1_000

_WALK = "SELECT conversation FROM $.conversation LIMIT ?"
_WALK_ON = "SELECT conversation FROM $.conversation WHERE token(conversation) > token(?) LIMIT ?"
_ROWS = "SELECT conversations FROM $.outbox WHERE writer = ? AND row > ? ORDER BY row DESC LIMIT ?"


class Said(NamedTuple):
    """Something that disagrees; ``kind`` ``"busy"``: it could not be said."""

    kind: str
    values: dict[str, Any]
    mended: bool = False


BUSY: Final = "busy"


async def walk(db: Cassandra, documents: Documents, after: str, limit: int) -> tuple[list[str], str]:
    """The next conversations, in the order of the cluster; and where to go on, "": there are no more."""
    rows = await (db.rows(_WALK_ON, after, limit) if after else db.rows(_WALK, limit))
    found = [row[0] for row in rows]
    return found, found[-1] if len(found) >= limit else ""


async def recent(
    db: Cassandra, documents: Documents, since: int, after: str, limit: int
) -> tuple[list[str], str]:
    """Conversations to which something was appended since then (ms), by id."""
    writers = [one.writer for one in await everybody(db) if one.at >= since]
    rows = await db.each(_ROWS, [(writer, since * 1000, _NEWEST) for writer in writers])
    ids = sorted({id_ for some in rows for (ids,) in some for id_ in ids if id_ > after})
    return ids[:limit], ids[limit - 1] if len(ids) > limit else ""


async def look(db: Cassandra, documents: Documents, keys: Sequence[str], tail: int) -> list[str]:
    """Those of the conversations that seem to have something wrong."""
    suspects = []
    for start in range(0, len(keys), _TOGETHER):
        for conversation, seen in (await load(db, documents, keys[start : start + _TOGETHER], tail)).items():
            if any(True for check in (*LEFT_BEHIND, *LOG, *ROSTER) for _ in check(seen)):
                suspects.append(conversation)
    return suspects


async def settle(
    db: Cassandra, documents: Documents, conversation: str, repair: bool, tail: int
) -> list[Said]:
    """What is wrong with one, and mended if ``repair``."""
    said: list[Said] = []
    try:
        seen = await _calm(db, documents, conversation, tail)
        if seen is None:
            return []
        said += await _judge(db, documents, None, seen, LEFT_BEHIND, repair, tail)
        async with exclusive(documents, conversation, seen.now) as held:
            if held is not None:
                seen = await _calm(db, documents, conversation, tail)
                if seen is not None:
                    said += await _judge(db, documents, held, seen, (*LOG, *ROSTER), repair, tail)
    except Unavailable:
        said.append(Said(BUSY, {}))
    return said


async def _calm(db: Cassandra, documents: Documents, conversation: str, tail: int) -> Seen | None:
    """As it was at one moment, but for messages: a change of members takes no lock."""
    for attempt in range(_ATTEMPTS):
        seen = (await load(db, documents, [conversation], tail)).get(conversation)
        if seen is None:
            return None
        later: Document | None = (await documents.read([conversation])).get(conversation)
        if later is not None and quiet(later) == quiet(seen.document):
            return seen
        await asyncio.sleep(0.05 * attempt)
    raise Unavailable("the conversation changes all the time")


async def _judge(
    db: Cassandra,
    documents: Documents,
    held: Held | None,
    seen: Seen,
    checks: Sequence[Check],
    repair: bool,
    tail: int,
) -> list[Said]:
    said: list[Said] = []
    for check in checks:
        wrong = list(check(seen))
        if not wrong:
            continue
        left: list[Wrong] = wrong
        for _ in range(_ROUNDS if repair else 0):
            at = Mending(db, documents, held, seen)
            for one in left:
                await one.mend(at)
            again = await _calm(db, documents, seen.conversation, tail)
            if again is None:
                break
            seen = again
            left = list(check(seen))
            if not left:
                break
        said += [Said(one.kind, one.values, repair and not left) for one in wrong]
    return said
