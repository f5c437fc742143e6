"""Appends of any list: cut into parts that can be judged at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

import msgspec

from delivery.store.cassandra.amend import append_amending
from delivery.store.cassandra.append import NOTHING, Accept, append_messages
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.rows import OutboxRows
from delivery.store.cassandra.session import Cassandra
from delivery.store.errors import Blocked, Busy
from delivery.store.interface import Unavailable
from delivery.store.values import Amendment, Appended, AppendResult, Send
from whatsapp.infra import faults


async def append(
    session: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    accept: Accept,
    writer: str,
    sends: Sequence[Send],
    now: int,
) -> AppendResult:
    """See :meth:`Store.append`. What has an unknown outcome raises :class:`Blocked` with the results of the rest, or, when that
    is nothing, :class:`Unavailable`: as :class:`Busy` if every request was answered, and the conversations are what is stuck."""
    if faults.off("dedupe") or faults.off("seqnum"):
        sends = _unprotected(sends)
    results: list[Appended | None] = [None] * len(sends)
    stuck: set[str] = set()
    failures = session.failures
    row, unsure = 0, False
    for places in _parts(sends):
        # What comes behind a send with an unknown outcome would overtake it.
        left = [i for i in places if sends[i].conversation not in stuck]
        for group in _alike(sends, left):
            part = [sends[i] for i in group]
            amends = any(type(one) is Amendment for one in part)
            append_part = append_amending if amends else append_messages
            try:
                found, written = await append_part(session, documents, outbox, accept, writer, part, now)
            except Unavailable:
                found, written = [None] * len(part), NOTHING
            row, unsure = max(row, written.row), unsure or written.unsure
            for i, result in zip(group, found, strict=True):
                results[i] = result
                if result is None:
                    stuck.add(sends[i].conversation)
    if None in results:
        if any(results):
            raise Blocked(results, row, unsure=unsure)
        of = Unavailable if session.failures > failures else Busy
        raise of("what became of these is not known")
    return AppendResult(results, row)  # type: ignore[arg-type]  # none of them is None


def _parts(sends: Sequence[Send]) -> Iterator[list[int]]:
    """Places of sends in order, cut before a repeated (sender, message_id)."""
    part: list[int] = []
    seen: set[tuple[str, str]] = set()
    for i, send in enumerate(sends):
        key = (send.sender, send.message_id)
        if key in seen:
            yield part
            part = []
            seen.clear()
        seen.add(key)
        part.append(i)
    if part:
        yield part


def _alike(sends: Sequence[Send], places: Sequence[int]) -> list[list[int]]:
    """Those to conversations that nothing is amended in; then the others, a conversation at a time."""
    amended: dict[str, list[int]] = {sends[i].conversation: [] for i in places if type(sends[i]) is Amendment}
    plain: list[int] = []
    for i in places:
        amended.get(sends[i].conversation, plain).append(i)
    return [part for part in (plain, *amended.values()) if part]


def _unprotected(sends: Sequence[Send]) -> list[Send]:
    """Test builds only: the sends with a protection taken away, for the twins of its tests."""
    if faults.off("dedupe"):
        sends = [msgspec.structs.replace(send, message_id=str(uuid4())) for send in sends]
    if faults.off("seqnum"):
        sends = [msgspec.structs.replace(send, seq_num=0) for send in sends]
    return list(sends)
