"""Who is meant by ``@``: completing a name while one writes, and finding it in what was written. Pure logic.

What goes into a message is the name that somebody chose for themselves, never one's own nickname for them:
that is nobody else's to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import text

#: Longest beginning of a name that is completed, in characters; it may hold spaces.
LONGEST = 40
OFFERED = 6
_WORD = re.compile(r"@[^\s@]+")


@dataclass(frozen=True, slots=True)
class Person:
    """``written``: what stands in messages behind ``@``. ``known``: what this user calls them."""

    user_id: str
    written: str
    known: str


def begun(line: str) -> str | None:
    """What is typed behind the last ``@`` of a line up to the cursor; None: nobody is being named."""
    at = line.rfind("@")
    if at < 0 or (at and not line[at - 1].isspace() and line[at - 1] not in "([{\"'“„«"):
        return None
    typed = line[at + 1 :]
    return typed if len(typed) <= LONGEST and not typed.startswith(" ") else None


def offers(typed: str, people: Iterable[Person]) -> list[Person]:
    """Those who may be meant: whose name begins so before those of whom a later word does."""
    wanted = typed.casefold()
    first: list[Person] = []
    later: list[Person] = []
    for person in people:
        names = (person.written.casefold(), person.known.casefold())
        if any(name.startswith(wanted) for name in names):
            first.append(person)
        elif any(f" {wanted}" in name for name in names):
            later.append(person)
    first.sort(key=lambda person: person.known.casefold())
    later.sort(key=lambda person: person.known.casefold())
    return (first + later)[:OFFERED]


def named(body: str, people: Sequence[Person], chosen: Mapping[str, str] | None = None) -> list[str]:
    """User ids of those who are named with ``@`` in a message. Of several who are called the same, the one who was
    ``chosen`` (name → user id), else the first."""
    by_name: dict[str, str] = dict(chosen or {})
    for person in people:
        if person.written:
            by_name.setdefault(person.written, person.user_id)
    found = []
    for start, end in places(body, by_name):
        user_id = by_name.get(body[start + 1 : end])
        if user_id is not None and user_id not in found:
            found.append(user_id)
    return found


def places(body: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """Where one of these names stands behind an ``@``; the longest name that fits."""
    longest_first = sorted({name for name in names if name}, key=len, reverse=True)
    found = []
    at = body.find("@")
    while at >= 0:
        end = at + 1
        before = body[at - 1] if at else " "
        if not before.isalnum():
            for name in longest_first:
                after = body[at + 1 + len(name) : at + 2 + len(name)]
                if body.startswith(name, at + 1) and not after.isalnum():
                    end = at + 1 + len(name)
                    found.append((at, end))
                    break
        at = body.find("@", end)
    return found


def shown(body: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """Like :func:`places` in a message that names somebody; where no name is known, every ``@word``."""
    exact = places(body, (text.clean(name) for name in names))
    return exact or [match.span() for match in _WORD.finditer(body)]
