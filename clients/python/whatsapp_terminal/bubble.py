"""One message as a bubble: head, text, meta, and what hangs below it. Pure layout, without colours."""

from __future__ import annotations

from dataclasses import dataclass, field

from whatsapp_client import Entry, Outgoing

from . import clock, extras, file_rows, mentions, text
from .cells import TICKS, Block, Marks, Row, Span, View, aligned, colour, row_width
from .facts import NOTHING, Facts

#: Rows of a message that are shown before one asks for more, and the most that are ever shown.
FOLDED, UNFOLDED = 24, 4_000
MAX_BUBBLE = 88
MENTIONS = 50  # people named in a message whose names are looked for in it
MORE = "Show more…"


@dataclass(slots=True)
class Parts:
    """What stands in a bubble. ``head``: rows over the text; ``role``: of the text; ``at``: the time and its signs."""

    body: str
    role: str = ""
    name: str = ""
    at: str = ""
    tick: str = ""
    head: list[Row] = field(default_factory=list)
    marks: Marks = field(default_factory=list)
    facts: Facts = NOTHING


def mentioned(entry: Entry) -> list[str]:
    found = entry.fields.get("mentions") if entry.fields else None
    return [str(user) for user in found] if isinstance(found, list) else []


def named(entry: Entry, view: View) -> tuple[str, ...]:
    """Names behind the ``@`` of a message."""
    return tuple(name for user in mentioned(entry)[:MENTIONS] for name in view.called(user))


def message(entry: Entry, view: View, facts: Facts, *, follows: bool) -> Block:
    """Of the log."""
    own = entry.sender_id == view.own_id
    block = Block(f"m {entry.seq}", own=own, seq=entry.seq, message_id=entry.message_id, entry=entry)
    block.sender = "" if own else entry.sender_id
    block.mentions_me = not own and view.own_id in mentioned(entry)
    parts = Parts("", tick=view.receipt(entry.seq) if own else "")
    parts.name = text.one_line(view.name(entry.sender_id)) if view.group and not own and not follows else ""
    gone = entry.deleted or facts.deleted or (entry.content is None and not facts.once)
    if gone:
        block.facts = Facts(deleted=True)
        parts.body, parts.role = extras.DELETED, "deleted"
    else:
        block.facts = parts.facts = facts
        parts.head = _head(facts, view, block.key)
        if facts.once:
            parts.body, parts.role = extras.once_words(facts, own=own), "deleted"
        else:
            said = entry.text if facts.words is None else facts.words
            said = facts.poll.question if facts.poll is not None else said
            said = facts.file.caption if facts.file is not None else said
            block.message = parts.body = text.clean(said)
            if entry.kind != "text" and facts.poll is None and facts.file is None:
                parts.body = f"[{text.one_line(entry.kind)[:20]}] {parts.body}"
            if mentioned(entry):
                parts.marks = [(a, b, "mention") for a, b in mentions.shown(parts.body, named(entry, view))]
    at = clock.time_of_day(entry.server_timestamp)
    parts.at = (
        extras.signs(parts.facts, edited=(entry.edited or facts.edited) and not gone, now=view.now) + at
    )
    _bubble(block, parts, view, follows=follows)
    if block.mentions_me:
        block.rows = [[Span("▎", "mentioned"), *row[1:]] if row else row for row in block.rows]
    if parts.facts.reactions:
        row = extras.reactions(parts.facts, block.key, view.width - 4)
        block.rows.append(aligned([Span(" "), *row], view.width, right=own))
    return block


def _head(facts: Facts, view: View, key: str) -> list[Row]:
    rows = []
    if (forwarded := extras.label(facts)) is not None:
        rows.append(forwarded)
    if facts.quote is not None:
        rows += extras.quote(
            facts.quote, room(view.width), own_id=view.own_id, name=view.name(facts.quote.sender)
        )
    if facts.file is not None and not facts.once:
        rows += file_rows.rows(facts.file, facts.shape, key, room(view.width))
    return rows


def outgoing(sent: Outgoing, view: View, facts: Facts, *, follows: bool) -> Block:
    """On its way, or refused."""
    state = sent.state if sent.state in ("failed", "sent") else "queued"
    said = facts.file.caption if facts.file is not None else sent.content.decode("utf-8", "replace")
    body = text.clean(said)
    block = Block(f"o {sent.message_id}", own=True, message=body, outgoing=sent)
    if state == "sent" and sent.seq:
        state = view.receipt(sent.seq)
    if facts.once:
        body = extras.once_words(facts, own=True)
    parts = Parts(
        body, "deleted" if facts.once else "", tick=state, head=_head(facts, view, block.key), facts=facts
    )
    block.facts = facts
    parts.at = clock.time_of_day(sent.server_timestamp or sent.timestamp)
    _bubble(block, parts, view, follows=follows)
    if state == "failed":
        why = ""
        if sent.error is not None:
            why = text.one_line(sent.error.message or sent.error.code.replace("_", " "))
        buttons = [
            Span(" Retry ", "button", action=f"retry {sent.message_id}"),
            Span(" "),
            Span(" Discard ", "button", action=f"discard {sent.message_id}"),
        ]
        left = view.width - 2 - row_width(buttons) - 1
        label = text.cut(f"Not sent: {why}" if why else "Not sent", left)
        row = [Span(label, "failed"), Span(" "), *buttons]
        block.rows.append(aligned(row, view.width, right=True))
    return block


def fill(block: Block, parts: Parts, view: View) -> None:
    """The rows of a block that is no message of the log."""
    _bubble(block, parts, view, follows=False)


def _bubble(block: Block, parts: Parts, view: View, *, follows: bool) -> None:
    """The rows of one message, on the right for our own."""
    body, most = parts.body, room(view.width)
    unfolded = block.key in view.unfolded
    limit = UNFOLDED if unfolded else FOLDED + 1
    places = text.wrap(body, most, limit=limit)
    folded = not unfolded and len(places) > FOLDED
    if folded:
        places = places[:FOLDED]
    lines = [body[a:b] for a, b in places]
    meta: list[Span] = [Span(parts.at, "time")]
    if parts.tick:
        # A click on the ticks tells who has it.
        action = f"info {block.key}" if block.message_id else ""
        meta.append(Span(f" {TICKS[parts.tick]}", f"tick-{parts.tick}", action=action))
    meta_width = row_width(meta)
    last = text.width(lines[-1])
    poll = parts.facts.poll
    beside = not folded and poll is None and last + 2 + meta_width <= most
    inner = max([text.width(line) for line in lines] + [meta_width, text.width(text.cut(parts.name, most))])
    inner = max([inner, *map(row_width, parts.head)])
    if beside:
        inner = max(inner, last + 2 + meta_width)
    if folded:
        inner = max(inner, text.width(MORE))
    if poll is not None:
        inner = max(inner, extras.poll_width(poll, most))
    side = "own" if block.own else "other"
    if not follows:
        block.rows.append([])
    if parts.name:
        name = Span(text.cut(parts.name, most), f"name-{colour(block.sender)}")
        block.rows.append(padded([name], inner, side, view.width))
    for row in parts.head:
        # All of the row is to be pressed, not only its words.
        fill = Span(" " * (inner - row_width(row)), action=row[-1].action)
        block.rows.append(padded([*row, fill], inner, side, view.width))
    found: Marks = [(a, b, "link") for a, b in text.links(body)]
    found = sorted(found + [mark for mark in parts.marks if not _inside(mark, found)])
    turned = text.right_to_left(body)
    for index, (begin, end) in enumerate(places):
        row = _linked(body, begin, end, found, parts.role)
        tail = meta if beside and index == len(places) - 1 else []
        used = text.width(lines[index])
        if tail:
            gap = inner - used - meta_width
            block.rows.append(padded([*row, Span(" " * gap), *tail], inner, side, view.width))
        elif turned:
            block.rows.append(padded([Span(" " * (inner - used)), *row], inner, side, view.width))
        else:
            block.rows.append(padded(row, inner, side, view.width))
    if folded:
        more = [Span(MORE, "link", action=f"unfold {block.key}")]
        block.rows.append(padded(more, inner, side, view.width))
    if poll is not None:
        *votes, (voted,) = extras.poll(poll, block.key, inner)
        block.rows += [padded(row, inner, side, view.width) for row in votes]
        gap = inner - text.width(voted.text) - meta_width
        if gap > 0:
            meta = [voted, Span(" " * gap), *meta]
            meta_width = inner
        else:
            block.rows.append(padded([voted], inner, side, view.width))
    if not beside:
        gap = inner - meta_width
        block.rows.append(padded([Span(" " * gap), *meta], inner, side, view.width))


def _inside(mark: tuple[int, int, str], others: Marks) -> bool:
    return any(a < mark[1] and mark[0] < b for a, b, _ in others)


def _linked(body: str, begin: int, end: int, found: Marks, role: str) -> Row:
    """A row of the text, with its part of every link and every name behind an ``@``."""
    row: Row = []
    at = begin
    for a, b, what in found:
        if b <= begin or a >= end:
            continue
        if a > at:
            row.append(Span(body[at:a], role))
        part = body[max(a, begin) : min(b, end)]
        row.append(Span(part, what, link=body[a:b] if what == "link" else ""))
        at = min(b, end)
    if at < end:
        row.append(Span(body[at:end], role))
    if text.has_right_to_left(body[begin:end]):
        row.append(Span(text.FENCE))
    return row


def room(width: int) -> int:
    """Cells of text in a bubble: three quarters of a wide view, nearly all of a narrow one."""
    share = width - 8 if width < 60 else width * 3 // 4
    return max(8, min(MAX_BUBBLE, share))


def padded(row: Row, inner: int, side: str, width: int) -> Row:
    used = row_width(row)
    filled = [Span(" ", side), *(_on(span, side) for span in row), Span(" " * (inner - used + 1), side)]
    return aligned(filled, width, right=side == "own")


def _on(span: Span, side: str) -> Span:
    """The span on the ground of a bubble."""
    return Span(span.text, f"{side} {span.role}".strip(), span.link, span.action, span.ink)
