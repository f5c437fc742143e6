"""The rows of a bubble besides its text: the quoted original, "Forwarded", a poll with its bars; and the reactions below."""

from __future__ import annotations

from . import clock, text
from .cells import Row, Span, colour, row_width
from .facts import MANY, OPENED, Facts, Poll, Quote

DELETED = "This message was deleted"
#: Cells of a poll, and of one that has room.
LEAST_POLL, WIDE_POLL = 20, 44
BAR, EMPTY = "━", "─"
SHOWN_REACTIONS = 8


def label(facts: Facts) -> Row | None:
    if not facts.forwarded:
        return None
    return [
        Span("⇒ Forwarded many times" if facts.forwarded >= MANY else "→ Forwarded", "label"),
    ]


def quote(found: Quote, most: int, *, own_id: str, name: str) -> list[Row]:
    """Who wrote the original and what it says; a click goes there. ``name``: of its writer."""
    action = f"goto {found.seq}" if found.seq else ""
    role = "quote-own" if found.sender == own_id else f"name-{colour(found.sender)}"
    room = most - 2
    if not found.sender:
        return [[Span("▎ ", "quote"), Span(text.cut("A message that is not here", room), "quote")]]
    words = text.one_line(found.words) if found.words else DELETED
    return [
        [Span("▎ ", role, action=action), Span(text.cut(text.one_line(name), room), role, action=action)],
        [Span("▎ ", role, action=action), Span(text.cut(words, room), "quote", action=action)],
    ]


def poll_width(poll: Poll, most: int) -> int:
    longest = max((text.width(text.one_line(option.words)) for option in poll.options), default=0)
    return min(most, max(LEAST_POLL, min(WIDE_POLL, longest + 8)))


def poll(found: Poll, key: str, inner: int) -> list[Row]:
    """An option with its votes, and a bar as long as its share of the people; a click votes."""
    rows: list[Row] = [[Span(text.cut(_asked(found), inner), "label")]]
    for number, option in enumerate(found.options):
        action = f"vote {number} {key}"
        box = ("■" if option.mine else "□") if found.multiple else ("◉" if option.mine else "○")
        count = f"{option.votes:,}" if option.votes else ""
        words = text.cut(text.one_line(option.words), inner - 3 - len(count))
        gap = inner - 2 - text.width(words) - len(count)
        role = "mine" if option.mine else ""
        rows.append(
            [Span(f"{box} ", role or "time", action=action), Span(words, role, action=action), Span(" " * gap, "", action=action),
             Span(count, role or "time", action=action)]
        )  # fmt: skip
        length = inner - 2
        filled = round(length * option.votes / found.voters) if found.voters else 0
        rows.append(
            [Span("  ", action=action), Span(BAR * filled, "bar", action=action),
             Span(EMPTY * (length - filled), "track", action=action)]
        )  # fmt: skip
    who = "Nobody has voted yet" if not found.voters else f"{found.voters:,} voted"
    rows.append([Span(text.cut(who, inner), "time")])
    return rows


def _asked(found: Poll) -> str:
    return "Poll · choose one or more" if found.multiple else "Poll · choose one"


def once_words(facts: Facts, *, own: bool) -> str:
    if own:  # nobody tells when the others have opened it
        return "① Can be viewed once"
    return "① Opened" if facts.once == OPENED else "① View once: Enter opens it"


def signs(facts: Facts, *, edited: bool, now: int) -> str:
    """What stands before the time."""
    words = "★ " if facts.starred else ""
    if edited:
        words += "edited "
    if facts.expires_at:
        words += f"◷ {left(facts, now)} "
    return f"{words}· " if facts.waiting else words


def left(facts: Facts, now: int) -> str:
    """What is left to a message that disappears; it changes as seldom as its words do."""
    return clock.left((facts.expires_at - now) / 1000) if facts.expires_at else ""


def reactions(facts: Facts, key: str, room: int) -> Row:
    """``👍 2  ❤ 1``; one's own is marked. A click on one takes it, or takes it back."""
    row: Row = []
    rest = len(facts.reactions)
    for number, reaction in enumerate(facts.reactions[:SHOWN_REACTIONS]):
        emoji = text.cut(text.one_line(reaction.emoji), 8)
        if not emoji:
            continue
        words = f" {emoji} {reaction.count:,} " if reaction.count > 1 else f" {emoji} "
        span = Span(words, "reacted" if reaction.mine else "reaction", action=f"reaction {number} {key}")
        if row_width(row) + text.width(words) + 5 > room:
            break
        row += [span, Span(" ")]
        rest -= 1
    if rest > 0:
        row.append(Span(f" +{rest} ", "reaction", action=f"menu {key}"))
    return row
