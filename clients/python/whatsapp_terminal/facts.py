"""What a message is besides its text: answer, forwarded, starred, reactions, poll, when it goes. As plain values, so that
what has not changed compares equal and is not drawn again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .attachment import File
from .pixels import Pixels
from .sound import Sound

MANY = 5  # forwarded so often, it goes to one chat at a time
#: States of what may be looked at once.
CLOSED, OPENED = "closed", "opened"


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message answers; nobody's where the original is not here. ``seq``: 0 while it is on its way."""

    sender: str = ""
    words: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Option:
    words: str
    votes: int = 0
    mine: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """``voters``: people, not votes: one may have several."""

    question: str
    options: tuple[Option, ...]
    voters: int = 0
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class Reaction:
    emoji: str
    count: int
    mine: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a file beside what its message says. ``note``: what is being done with it."""

    pixels: Pixels | None = None
    sound: Sound | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """``words``: what it says now, None: as the log has it. ``waiting``: a change of it has no ✓ yet. ``expires_at``: ms, 0: it
    stays. ``once``: :data:`CLOSED`, :data:`OPENED`, or empty for what may be read as often as one likes."""

    words: str | None = None
    edited: bool = False
    deleted: bool = False
    waiting: bool = False
    starred: bool = False
    forwarded: int = 0
    expires_at: int = 0
    once: str = ""
    quote: Quote | None = None
    poll: Poll | None = None
    reactions: tuple[Reaction, ...] = ()
    file: File | None = None
    shape: Shape = Shape()

    @property
    def my_reaction(self) -> str:
        return next((reaction.emoji for reaction in self.reactions if reaction.mine), "")


NOTHING = Facts()


def reactions_of(found: Mapping[str, Iterable[str]], own_id: str) -> tuple[Reaction, ...]:
    """The most frequent one first. ``found``: emoji → user ids."""
    made = []
    for emoji, users in found.items():
        known = set(users)
        if known:
            made.append(Reaction(emoji, len(known), own_id in known))
    return tuple(sorted(made, key=lambda reaction: -reaction.count))
