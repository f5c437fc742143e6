"""What the layout of a conversation is made of: spans in rows, rows in blocks, and what a layout depends on.

A row is a list of :class:`Span`; a span names its role, and the widget knows how a role looks in the theme.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from whatsapp_client import Entry, Outgoing

from . import text
from .facts import NOTHING, Facts

TICKS = {"queued": "·", "sent": "✓", "delivered": "✓✓", "read": "✓✓", "failed": "!"}


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style. ``role``: see ``conversation_style.ROLES``; ``link``: address; ``action``: what a click does;
    ``ink``: two colours of its own (``0xRRGGBB``), of the letters and of the ground."""

    text: str
    role: str = ""
    link: str = ""
    action: str = ""
    ink: tuple[int, int] | None = None


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
    entry: Entry | None = None  # of what is in the log
    facts: Facts = NOTHING

    @property
    def selectable(self) -> bool:
        return bool(self.message) or self.outgoing is not None or self.entry is not None


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
    facts: Callable[[Entry], Facts] = lambda entry: NOTHING
    sending: Callable[[Outgoing], Facts] = lambda outgoing: NOTHING
    group: bool = False
    divider: int = 0
    unread: int = 0
    beginning: bool = False
    unfolded: frozenset[str] = frozenset()


def aligned(row: Row, width: int, *, right: bool) -> Row:
    used = row_width(row)
    return [Span(" " * max(1, width - used - 1) if right else " "), *row]


def row_width(row: Row) -> int:
    return sum(text.width(span.text) for span in row)


def colour(of: str) -> int:
    """One of eight colours for a name or an id, always the same."""
    total = 0
    for character in of:
        total = (total * 31 + ord(character)) % 65_521
    return total % 8
