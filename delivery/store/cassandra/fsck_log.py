"""Checks of a conversation's log against its document, and of what stands beside the log. Each may rely on what those before it
have mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from delivery.store.cassandra import rows
from delivery.store.cassandra.document import Claim, Document
from delivery.store.cassandra.documents import Keep
from delivery.store.cassandra.fsck_check import GIVE_UP, SKEW_MS, Check, Mending, Wrong, raised
from delivery.store.cassandra.fsck_state import LogRow, Seen, highest
from delivery.store.cassandra.session import Statement

_KEY = "WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"


# -- the head ---------------------------------------------------------------------------------------------------------------


def head_below_floor(seen: Seen) -> Iterator[Wrong]:
    document = seen.document
    if document.floor > document.head:
        yield Wrong(
            "head.below_floor", {"head": document.head, "floor": document.floor},
            lambda at: at.change(raised(document.floor, document.floor_ordinal)),
        )  # fmt: skip


def head_behind(seen: Seen) -> Iterator[Wrong]:
    """A number would be given out twice."""
    last = seen.beyond
    if last is not None:
        yield Wrong(
            "head.behind", {"head": seen.top, "last": last.seq},
            lambda at: at.change(raised(last.seq, last.ordinal, last.written)),
        )  # fmt: skip


def receipt_beyond(seen: Seen) -> Iterator[Wrong]:
    """Somebody has what is not there: it was lost. Its numbers are not given to anything else, which the device would never ask
    for."""
    for user, mark in sorted(seen.receipts.items()):
        last = highest(mark)
        if last > seen.top:

            async def mend(at: Mending, last: int = last) -> None:
                if last <= at.seen.top + GIVE_UP:
                    await at.change(raised(last))

            yield Wrong("receipt.beyond", {"member": user, "seq": last}, mend)


def head_stamp(seen: Seen) -> Iterator[Wrong]:
    """Or an amendment would be older than what it changes."""
    newest = max((max(row.written, row.content or 0, row.extra or 0) for row in seen.rows), default=0)
    if newest > seen.document.stamp:
        yield Wrong(
            "head.stamp",
            {"is": seen.document.stamp, "should": newest},
            lambda at: at.change(raised(0, 0, newest)),
        )


# -- ordinals ---------------------------------------------------------------------------------------------------------------


def floor_ordinal(seen: Seen) -> Iterator[Wrong]:
    document, first = seen.document, seen.first
    if first is None:
        return
    most = max(0, first.ordinal - first.counts)
    least = max(0, most - (first.seq - document.floor - 1))
    if not least <= document.floor_ordinal <= most:

        def decide(document: Document) -> None:
            document.floor_ordinal = most

        yield Wrong(
            "floor.ordinal", {"is": document.floor_ordinal, "should": most}, lambda at: at.change(decide)
        )


def log_ordinal(seen: Seen) -> Iterator[Wrong]:
    """Each message is one more than the one before; a void number between them may have been one, too."""
    fixed = _counted(seen)
    if fixed:

        async def mend(at: Mending) -> None:
            stamp = await at.stamp()
            cql = f"UPDATE $.event USING TIMESTAMP ? SET ordinal = ? {_KEY}"
            await at.db.write([(cql, (stamp, ordinal, *at.key(row))) for row, ordinal in fixed])

        yield Wrong("log.ordinal", {"seq": fixed[0][0].seq, "number": len(fixed)}, mend)


def _counted(seen: Seen) -> list[tuple[LogRow, int]]:
    """Rows whose ordinal cannot be, and what it should be."""
    fixed: list[tuple[LogRow, int]] = []
    before, seq = (seen.document.floor_ordinal, seen.document.floor) if seen.whole else (-1, 0)
    for row in seen.rows:
        ordinal = row.ordinal
        if before >= 0:
            ordinal = min(max(ordinal, before + row.counts), before + row.counts + row.seq - seq - 1)
            if ordinal != row.ordinal:
                fixed.append((row, ordinal))
        before, seq = ordinal, row.seq
    return fixed


def head_ordinal(seen: Seen) -> Iterator[Wrong]:
    document = seen.document
    if seen.rows:
        least, gap = seen.rows[-1].ordinal, document.head - seen.rows[-1].seq
    elif seen.whole:
        least, gap = document.floor_ordinal, document.head - document.floor
    else:
        return
    if not least <= document.ordinal <= least + gap:
        should = min(max(document.ordinal, least), least + gap)

        def decide(document: Document) -> None:
            # What was given out meanwhile has counted on from there.
            document.ordinal += should - seen.document.ordinal

        yield Wrong("head.ordinal", {"is": document.ordinal, "should": should}, lambda at: at.change(decide))


def head_oldest(seen: Seen) -> Iterator[Wrong]:
    """Retention looks for it."""
    first, oldest = seen.first, seen.document.oldest_at
    if first is not None and not 0 < oldest <= first.at + SKEW_MS:

        def decide(document: Document) -> None:
            document.oldest_at = first.at

        yield Wrong("head.oldest_at", {"is": oldest, "should": first.at}, lambda at: at.change(decide))


# -- what leads to events -----------------------------------------------------------------------------------------------------


def message_missing(seen: Seen) -> Iterator[Wrong]:
    """Who sends it again would get a second copy."""
    for row in seen.rows:
        there = seen.found.get((row.sender, row.message_id))
        if there is None:

            async def mend(at: Mending, row: LogRow = row) -> None:
                claim = Claim(
                    row.sender, row.message_id, row.body_hash, row.seq, row.ordinal, await at.stamp(), row.at, row.at,
                    withheld=bool(row.withheld),
                )  # fmt: skip
                await at.db.write([rows.message(claim, at.seen.conversation)])

            yield Wrong("message.missing", {"seq": row.seq}, mend)


def event_edited(seen: Seen) -> Iterator[Wrong]:
    by_seq = {row.seq: row for row in seen.rows}
    for row in seen.rows:
        edited = row.edited or 0
        if not seen.start < edited <= seen.document.head or edited in seen.busy:
            continue
        if edited in by_seq and by_seq[edited].target == row.seq:
            continue
        edits = [one for one in seen.rows if one.target == row.seq and one.kind == "edit"]
        last = max((one.seq for one in edits if not (one.superseded or one.withheld)), default=None)

        async def mend(at: Mending, row: LogRow = row, last: int | None = last) -> None:
            stamp = await at.stamp()
            cql = f"UPDATE $.event USING TIMESTAMP ? SET edited = ? {_KEY}"
            await at.db.run(cql, stamp, last, *at.key(row))

        yield Wrong("event.edited", {"seq": row.seq, "edited": edited}, mend)


def event_superseded(seen: Seen) -> Iterator[Wrong]:
    for row in seen.rows:
        if row.superseded and (row.content is not None or row.extra is not None):
            yield Wrong("event.superseded", {"seq": row.seq}, _supersede(row))


def event_about_gone(seen: Seen) -> Iterator[Wrong]:
    gone = {row.seq for row in seen.rows if row.content is None}
    for row in seen.rows:
        if row.target in gone and not row.superseded and row.kind != "delete":
            yield Wrong("event.about_gone", {"seq": row.seq, "target": row.target}, _supersede(row))


def _supersede(row: LogRow) -> Callable[[Mending], Awaitable[None]]:
    async def mend(at: Mending) -> None:
        stamp, c = await at.stamp(), at.seen.conversation
        cql = f"UPDATE $.event USING TIMESTAMP ? SET content = null, extra = null, superseded = true {_KEY}"
        writes: list[Statement] = [(cql, (stamp, *at.key(row)))]
        if row.target:
            forget = "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ? AND seq = ?"
            writes.append((forget, (stamp, c, row.target, row.seq)))
        await at.db.batch(writes, logged=True)

    return mend


def about_missing(seen: Seen) -> Iterator[Wrong]:
    """A reaction that its sender could not take back, an edit that a delete would leave."""
    for row in seen.rows:
        in_force = row.target and row.kind in ("edit", "reaction", "vote") and not row.superseded
        if in_force and (row.target, row.seq) not in seen.about:

            async def mend(at: Mending, row: LogRow = row) -> None:
                found = await at.db.rows(f"SELECT content FROM $.event {_KEY}", *at.key(row))
                content = found[0][0] if found and row.kind != "edit" else None
                stamp = await at.stamp()
                await at.db.write(
                    [
                        rows.of(
                            "about", conversation=at.seen.conversation, target=row.target, seq=row.seq,
                            message_id=row.message_id, sender=row.sender, kind=row.kind, content=content,
                            withheld=bool(row.withheld), stamp=stamp,
                        )
                    ]
                )  # fmt: skip

            yield Wrong("about.missing", {"seq": row.seq, "target": row.target}, mend)


def about_orphan(seen: Seen) -> Iterator[Wrong]:
    """It would be counted among what is in force."""
    live = {(row.target, row.seq) for row in seen.rows if not row.superseded}
    for target, seq in sorted(seen.about):
        if seen.start < seq <= seen.document.head and (target, seq) not in live and seq not in seen.busy:

            async def mend(at: Mending, target: int = target, seq: int = seq) -> None:
                forget = (
                    "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ? AND seq = ?"
                )
                await at.db.run(forget, await at.stamp(), at.seen.conversation, target, seq)

            yield Wrong("about.orphan", {"seq": seq, "target": target}, mend)


def vanishing_missing(seen: Seen) -> Iterator[Wrong]:
    """Or it would be kept for longer than its sender said."""
    for row in seen.rows:
        if row.until and row.target is None and row.content is not None and row.seq not in seen.vanishing:
            if not rows.is_message(row.kind):
                continue

            async def mend(at: Mending, row: LogRow = row) -> None:
                stamp = await at.stamp()
                claim = Claim(
                    row.sender,
                    row.message_id,
                    b"",
                    row.seq,
                    0,
                    stamp,
                    min(row.at, row.until or 0),
                    0,
                    until=row.until or 0,
                )
                await at.db.write(rows.vanishing(claim, at.seen.conversation))

            yield Wrong("vanishing.missing", {"seq": row.seq, "until": row.until}, mend)


def activity_missing(seen: Seen) -> Iterator[Wrong]:
    """Retention would not find it."""
    for day in sorted({row.at // rows.DAY_MS for row in seen.rows if row.at > seen.now - 28 * rows.DAY_MS}):
        if not seen.days & {day, day + 1}:

            async def mend(at: Mending, day: int = day) -> None:
                await at.db.write(rows.activity(at.seen.conversation, day * rows.DAY_MS + 1))

            yield Wrong("activity.missing", {"day": day}, mend)


def seqnum_behind(seen: Seen) -> Iterator[Wrong]:
    """A number could be stored twice."""
    highest_: dict[str, int] = {}
    for row in seen.rows:
        if row.seq_num and row.device in seen.lasts:
            highest_[row.device] = max(highest_.get(row.device, 0), row.seq_num)
    for device, should in sorted(highest_.items()):
        if should > seen.lasts[device]:

            async def mend(at: Mending, device: str = device, should: int = should) -> None:
                stamp = at.seen.now * 1000 + should
                await at.db.write(
                    [
                        rows.of(
                            "seqnum",
                            device=device,
                            conversation=at.seen.conversation,
                            last=should,
                            stamp=stamp,
                        )
                    ]
                )

                def decide(document: Document) -> None:
                    if document.lasts.get(device, should) >= should:
                        raise Keep
                    document.lasts[device] = should

                await at.change(decide)

            yield Wrong("seqnum.behind", {"device": device, "is": seen.lasts[device], "should": should}, mend)


LOG: Final[tuple[Check, ...]] = (
    head_below_floor,
    head_behind,
    receipt_beyond,
    head_stamp,
    floor_ordinal,
    log_ordinal,
    head_ordinal,
    head_oldest,
    message_missing,
    event_edited,
    event_superseded,
    event_about_gone,
    about_missing,
    about_orphan,
    vanishing_missing,
    activity_missing,
    seqnum_behind,
)
