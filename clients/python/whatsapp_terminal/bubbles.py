"""From entries to rows of cells: day separators, bubbles in groups, ticks. Pure layout, without colours.

A row is a list of :class:`Span`; a span names its role, and the widget knows how a role looks in the theme.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from whatsapp_client import Entry, Outgoing

from . import clock, membership, mentions, text

TICKS = {"queued": "·", "sent": "✓", "delivered": "✓✓", "read": "✓✓", "failed": "!"}
GROUP_MS = 5 * 60_000
#: Rows of a message that are shown before one asks for more, and the most that are ever shown.
FOLDED, UNFOLDED = 24, 4_000
MAX_BUBBLE = 88
MENTIONS = 50  # people named in a message whose names are looked for in it


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style. ``role``: see ``conversation.ROLES``; ``link``: address; ``action``: what a click does."""

    text: str
    role: str = ""
    link: str = ""
    action: str = ""


Row = list[Span]
#: Parts of a text in another role than the rest: begin, end, role.
Marks = list[tuple[int, int, str]]


@dataclass(slots=True)
class Block:
    """Some rows that belong together. ``seq``: 0 for what is not in the log; ``key``: stays the same over renewals."""

    key: str
    rows: list[Row] = field(default_factory=list)
    own: bool = False
    seq: int = 0
    message: str = ""  # the text, for copying
    message_id: str = ""  # of what is in the log
    sender: str = ""  # user id, of what others wrote
    mentions_me: bool = False
    outgoing: Outgoing | None = None

    @property
    def selectable(self) -> bool:
        return bool(self.message) or self.outgoing is not None


@dataclass(frozen=True, slots=True)
class View:
    """What the layout depends on besides the entries. ``divider``: seq of the first unread message, 0: none."""

    width: int
    now: int
    own_id: str
    receipt: Callable[[int], str]
    name: Callable[[str], str]
    #: Names by which others may have mentioned a user.
    called: Callable[[str], tuple[str, ...]] = lambda user_id: ()
    group: bool = False
    divider: int = 0
    unread: int = 0
    beginning: bool = False
    unfolded: frozenset[str] = frozenset()


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
        blocks.append(_outgoing(outgoing, view, follows=follows))
    if cache is not None:
        cache.clear()
        cache.update(kept)
    return blocks


def _cached(entry: Entry, view: View, follows: bool, cache: Cache | None) -> tuple[object, Block]:
    """The block of a message with what it was made from."""
    own = entry.sender_id == view.own_id
    state = (
        entry.content, entry.edited, entry.deleted, entry.kind, entry.server_timestamp, follows, view.width,
        view.receipt(entry.seq) if own else view.name(entry.sender_id) if view.group else "",
        f"m {entry.seq}" in view.unfolded, _named(entry, view),
    )  # fmt: skip
    known = cache.get(entry.seq) if cache is not None else None
    if known is not None and known[0] == state:
        return known
    return state, _message(entry, view, follows=follows)


def _mentions(entry: Entry) -> list[str]:
    found = entry.fields.get("mentions") if entry.fields else None
    return [str(user) for user in found] if isinstance(found, list) else []


def _named(entry: Entry, view: View) -> tuple[str, ...]:
    """Names behind the ``@`` of a message."""
    return tuple(name for user in _mentions(entry)[:MENTIONS] for name in view.called(user))


def _message(entry: Entry, view: View, *, follows: bool) -> Block:
    own = entry.sender_id == view.own_id
    block = Block(f"m {entry.seq}", own=own, seq=entry.seq, message_id=entry.message_id)
    block.sender = "" if own else entry.sender_id
    block.mentions_me = not own and view.own_id in _mentions(entry)
    name = text.one_line(view.name(entry.sender_id)) if view.group and not own and not follows else ""
    tick = view.receipt(entry.seq) if own else ""
    edited = "edited " if entry.edited else ""
    if entry.deleted or entry.content is None:
        body, role = "This message was deleted", "deleted"
    else:
        block.message = body = text.clean(entry.text)
        role = ""
        if entry.kind != "text":
            body = f"[{text.one_line(entry.kind)[:20]}] {body}"
    at = clock.time_of_day(entry.server_timestamp)
    marks: Marks = []
    if block.message and _mentions(entry):
        marks = [(a, b, "mention") for a, b in mentions.shown(body, _named(entry, view))]
    _bubble(block, body, role, name, f"{edited}{at}", tick, view, follows=follows, marks=marks)
    if block.mentions_me:
        block.rows = [[Span("▎", "mentioned"), *row[1:]] if row else row for row in block.rows]
    return block


def _outgoing(outgoing: Outgoing, view: View, *, follows: bool) -> Block:
    state = outgoing.state if outgoing.state in ("failed", "sent") else "queued"
    body = text.clean(outgoing.content.decode("utf-8", "replace"))
    block = Block(f"o {outgoing.message_id}", own=True, message=body, outgoing=outgoing)
    if state == "sent" and outgoing.seq:
        state = view.receipt(outgoing.seq)
    at = clock.time_of_day(outgoing.server_timestamp or outgoing.timestamp)
    _bubble(block, body, "", "", at, state, view, follows=follows)
    if state == "failed":
        why = ""
        if outgoing.error is not None:
            why = text.one_line(outgoing.error.message or outgoing.error.code.replace("_", " "))
        buttons = [
            Span(" Retry ", "button", action=f"retry {outgoing.message_id}"),
            Span(" "),
            Span(" Discard ", "button", action=f"discard {outgoing.message_id}"),
        ]
        room = view.width - 2 - sum(text.width(span.text) for span in buttons) - 1
        label = text.cut(f"Not sent: {why}" if why else "Not sent", room)
        row = [Span(label, "failed"), Span(" "), *buttons]
        block.rows.append(_aligned(row, view.width, right=True))
    return block


def _bubble(
    block: Block,
    body: str,
    role: str,
    name: str,
    at: str,
    tick: str,
    view: View,
    *,
    follows: bool,
    marks: Marks | None = None,
) -> None:
    """The rows of one message, on the right for our own."""
    most = _room(view.width)
    unfolded = block.key in view.unfolded
    limit = UNFOLDED if unfolded else FOLDED + 1
    places = text.wrap(body, most, limit=limit)
    folded = not unfolded and len(places) > FOLDED
    if folded:
        places = places[:FOLDED]
    lines = [body[a:b] for a, b in places]
    meta: list[Span] = [Span(at, "time")]
    if tick:
        # A click on the ticks tells who has it.
        meta.append(
            Span(f" {TICKS[tick]}", f"tick-{tick}", action=f"info {block.key}" if block.message_id else "")
        )
    meta_width = sum(text.width(span.text) for span in meta)
    last = text.width(lines[-1])
    beside = not folded and last + 2 + meta_width <= most
    inner = max([text.width(line) for line in lines] + [meta_width, text.width(text.cut(name, most))])
    if beside:
        inner = max(inner, last + 2 + meta_width)
    if folded:
        inner = max(inner, text.width(MORE))
    side = "own" if block.own else "other"
    if not follows:
        block.rows.append([])
    if name:
        block.rows.append(
            _padded([Span(text.cut(name, most), f"name-{colour(block.sender)}")], inner, side, view.width)
        )
    found: Marks = [(a, b, "link") for a, b in text.links(body)]
    found = sorted(found + [mark for mark in marks or () if not _inside(mark, found)])
    turned = text.right_to_left(body)
    for index, (begin, end) in enumerate(places):
        row = _linked(body, begin, end, found, role)
        tail = meta if beside and index == len(places) - 1 else []
        used = text.width(lines[index])
        if tail:
            gap = inner - used - meta_width
            block.rows.append(_padded([*row, Span(" " * gap), *tail], inner, side, view.width))
        elif turned:
            block.rows.append(_padded([Span(" " * (inner - used)), *row], inner, side, view.width))
        else:
            block.rows.append(_padded(row, inner, side, view.width))
    if folded:
        more = [Span(MORE, "link", action=f"unfold {block.key}")]
        block.rows.append(_padded(more, inner, side, view.width))
    if not beside:
        gap = inner - meta_width
        block.rows.append(_padded([Span(" " * gap), *meta], inner, side, view.width))


MORE = "Show more…"


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


def _room(width: int) -> int:
    """Cells of text in a bubble: three quarters of a wide view, nearly all of a narrow one."""
    share = width - 8 if width < 60 else width * 3 // 4
    return max(8, min(MAX_BUBBLE, share))


def _padded(row: Row, inner: int, side: str, width: int) -> Row:
    used = sum(text.width(span.text) for span in row)
    filled = [Span(" ", side), *(_on(span, side) for span in row), Span(" " * (inner - used + 1), side)]
    return _aligned(filled, width, right=side == "own")


def _on(span: Span, side: str) -> Span:
    """The span on the ground of a bubble."""
    return Span(span.text, f"{side} {span.role}".strip(), span.link, span.action)


def _aligned(row: Row, width: int, *, right: bool) -> Row:
    used = sum(text.width(span.text) for span in row)
    return [Span(" " * max(1, width - used - 1) if right else " "), *row]


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


def colour(of: str) -> int:
    """One of eight colours for a name or an id, always the same."""
    total = 0
    for character in of:
        total = (total * 31 + ord(character)) % 65_521
    return total % 8
