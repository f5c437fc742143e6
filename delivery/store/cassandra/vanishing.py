"""The end of messages that go at a time of their own. Found by the hour in which they go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from delivery.store.cassandra import events, rows
from delivery.store.cassandra.claims import overdue
from delivery.store.cassandra.document import Document, State
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.lock import Held, exclusive
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.cassandra.settling import end_claims
from delivery.store.cassandra.targets import ABOUT, target_of
from delivery.store.errors import Busy
from delivery.store.interface import Unavailable

#: What goes is looked for in the hours before now, and in earlier ones until nothing is left of them.
_HOURS = "SELECT at FROM $.pending WHERE kind = 'vanishing' AND at <= ?"
_DUE = "SELECT at, conversation, seq FROM $.vanishing WHERE hour = ? AND at <= ? LIMIT ?"
_DONE = "DELETE FROM $.vanishing USING TIMESTAMP ? WHERE hour = ? AND at = ? AND conversation = ? AND seq = ?"
_HOUR_DONE = "DELETE FROM $.pending USING TIMESTAMP ? WHERE kind = 'vanishing' AND at = ?"
#: Statements of one logged batch.
_TOGETHER = 64
#: Conversations in a row of which nobody answers: then it is the store that is away, and each further one would wait as long.
_AWAY = 3

_Due = tuple[int, int]  # at, seq


async def vanish(session: Cassandra, documents: Documents, now: int, limit: int) -> int:
    """See :meth:`Store.vanish`. What goes wrong with a conversation is raised when nothing else was left to do."""
    count = in_a_row = 0
    wrong: Unavailable | None = None
    latest = now // rows.HOUR_MS
    for (hour,) in await session.rows(_HOURS, latest):
        due = await session.rows(_DUE, hour, now, limit - count)
        if not due and hour < latest - 24:
            # A message that goes in an hour of the past is never stored: its row would have an earlier timestamp than this.
            await session.run(_HOUR_DONE, (hour + 1) * rows.HOUR_MS * 1000, hour)
        by_conversation: dict[str, list[_Due]] = {}
        for at, conversation, seq in due:
            by_conversation.setdefault(conversation, []).append((at, seq))
        for conversation, some in by_conversation.items():
            try:
                count += await _vanish(session, documents, conversation, hour, some, now)
                in_a_row = 0
            except Unavailable as error:
                wrong = wrong or error
                in_a_row = 0 if isinstance(error, Busy) else in_a_row + 1
                if in_a_row >= _AWAY:
                    raise
        if count >= limit:
            break
    if wrong is not None and not count:
        raise wrong
    return count


async def _vanish(
    session: Cassandra, documents: Documents, conversation: str, hour: int, due: Sequence[_Due], now: int
) -> int:
    """Under the lock, so whoever amends one of these messages meanwhile comes before or after."""

    async def settled(document: Document) -> None:
        if overdue(document):
            raise _Overdue

    while True:
        try:
            async with exclusive(documents, conversation, now, settled) as held:
                if held is None:
                    await _forget(session, conversation, hour, due, now)
                    return len(due)
                return await _empty(session, held, conversation, hour, due, now)
        except _Overdue:
            await end_claims(session, documents, conversation, now)


class _Overdue(Exception):
    pass


async def _empty(
    session: Cassandra, held: Held, conversation: str, hour: int, due: Sequence[_Due], now: int
) -> int:
    open_: set[int] = set()

    def stamp(document: Document) -> int:
        open_.clear()
        open_.update(one.seq for one in document.claims if one.state is State.OPEN)
        return document.next_stamp(now)

    written_at = await held.change(stamp)
    # What is under way comes later; it is due then as well.
    due = [one for one in due if one[1] not in open_]
    seqs = [seq for _, seq in due]
    there, about = await asyncio.gather(
        events.some(session, conversation, seqs), session.each(ABOUT, [(conversation, seq) for seq in seqs])
    )
    for seq, things in zip(seqs, about, strict=True):
        if seq in there:
            writes = target_of(conversation, there[seq], things).vanish(written_at)
            for i in range(0, len(writes), _TOGETHER):
                await session.batch(writes[i : i + _TOGETHER], logged=True)
    await _forget(session, conversation, hour, due, now)
    return len(due)


async def _forget(session: Cassandra, conversation: str, hour: int, due: Sequence[_Due], now: int) -> None:
    """They are due no more."""
    statements: list[Statement] = [
        (_DONE, (now * 1000 + 1_000_000, hour, at, conversation, seq)) for at, seq in due
    ]
    await session.write(statements)
