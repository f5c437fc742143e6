"""From entries to rows of cells: day separators, bubbles in groups, ticks. Pure layout, without colours."""

from __future__ import annotations

from collections.abc import Sequence

from whatsapp_client import Entry, Outgoing

from . import bubble, clock, extras, membership, text
from .cells import Block, Row, Span, View

GROUP_MS = 5 * 60_000

Cache = dict[int, tuple[object, Block]]


def layout(
    entries: Sequence[Entry], pending: Sequence[Outgoing], view: View, cache: Cache | None = None
) -> list[Block]:
    """All blocks from top to bottom. ``cache``: of the same conversation; what has not changed is not made anew."""
    kept: Cache = {}
    blocks: list[Block] = []
    if view.beginning:
        blocks.append(
            _note(
                "beginning",
                "Messages of this client are NOT end-to-end encrypted yet: the server can read them.",
                view.width,
            )
        )
    last_day, last_sender, last_at = "", "", 0
    # Only where it begins for sure: what is unread may begin above the window.
    divided = not (entries and (view.beginning or entries[0].seq <= view.divider))
    for entry in entries:
        day = clock.day(entry.server_timestamp, view.now)
        if day != last_day:
            blocks.append(_centred(f"day {day}", day, "day", view.width))
            last_day, last_sender = day, ""
        if view.divider and entry.seq >= view.divider and not divided:
            divided = True
            word = "unread message" if view.unread == 1 else "unread messages"
            blocks.append(_rule("unread", f"{view.unread:,} {word}", view.width))
            last_sender = ""
        if entry.type != "message":
            note = _event(entry, view, follows=bool(blocks) and blocks[-1].key.startswith("e "))
            if note is not None:
                blocks.append(note)
                last_sender = ""
            continue
        follows = entry.sender_id == last_sender and entry.server_timestamp - last_at < GROUP_MS
        last_sender, last_at = entry.sender_id, entry.server_timestamp
        made = _cached(entry, view, follows, cache)
        kept[entry.seq] = made
        blocks.append(made[1])
    for outgoing in pending:
        at = outgoing.server_timestamp or outgoing.timestamp
        day = clock.day(at, view.now)
        if day != last_day:
            blocks.append(_centred(f"day {day}", day, "day", view.width))
            last_day, last_sender = day, ""
        follows = last_sender == view.own_id and at - last_at < GROUP_MS
        last_sender, last_at = view.own_id, at
        blocks.append(bubble.outgoing(outgoing, view, view.sending(outgoing), follows=follows))
    if cache is not None:
        cache.clear()
        cache.update(kept)
    return blocks


def _cached(entry: Entry, view: View, follows: bool, cache: Cache | None) -> tuple[object, Block]:
    """The block of a message with what it was made from."""
    own = entry.sender_id == view.own_id
    facts = view.facts(entry)
    state = (
        entry.content, entry.edited, entry.deleted, entry.kind, entry.server_timestamp, follows, view.width,
        view.receipt(entry.seq) if own else view.name(entry.sender_id) if view.group else "",
        f"m {entry.seq}" in view.unfolded, bubble.named(entry, view), facts, extras.left(facts, view.now),
        view.name(facts.quote.sender) if facts.quote is not None else "",
    )  # fmt: skip
    known = cache.get(entry.seq) if cache is not None else None
    if known is not None and known[0] == state:
        return known
    return state, bubble.message(entry, view, facts, follows=follows)


def _centred(key: str, words: str, role: str, width: int) -> Block:
    words = text.cut(words, max(1, width - 4))
    left = max(0, (width - text.width(words) - 2) // 2)
    return Block(key, [[], [Span(" " * left), Span(f" {words} ", role)]])


def _rule(key: str, words: str, width: int) -> Block:
    words = f" {text.cut(words, max(1, width - 8))} "
    side = max(1, (width - text.width(words)) // 2)
    line = Span("─" * (side - 1) + words + "─" * max(1, width - side - text.width(words) - 1), "unread")
    return Block(key, [[], [Span(" "), line]])


def _note(key: str, words: str, width: int) -> Block:
    rows: list[Row] = [[]]
    for begin, end in text.wrap(words, max(8, min(70, width - 4))):
        line = words[begin:end]
        rows.append([Span(" " * max(0, (width - text.width(line)) // 2)), Span(line, "note")])
    return Block(key, rows)


def _event(entry: Entry, view: View, *, follows: bool) -> Block | None:
    """What happened to the group; edits and deletions show in their message."""
    told = membership.sentences(entry, view.own_id, view.name)
    if not told:
        return None
    block = Block(f"e {entry.seq}", seq=entry.seq)
    for sentence in told:
        block.rows += _note("", sentence, view.width).rows[1:]
    if not follows:
        block.rows.insert(0, [])
    return block
