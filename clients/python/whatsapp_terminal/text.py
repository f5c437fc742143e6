"""Other people's text on a grid of cells: made harmless, and wrapped so that no terminal disagrees on its width.

Whoever writes a message chooses every character of it. Nothing here lets one move the cursor, set a title,
turn the line around, or take another number of cells than the layout reckoned with.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: Ends a right-to-left run for terminals that reorder by themselves, so that it cannot swallow what is drawn beside it.
FENCE = "\N{LEFT-TO-RIGHT MARK}"
#: Marks on top of one letter; more than that is a tower over the neighbouring lines ("zalgo").
MAX_MARKS = 4
NON_JOINER = "\N{ZERO WIDTH NON-JOINER}"

_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
#: Selectors of a presentation and skin tones: terminals disagree whether they change the width.
_DROPPED = frozenset("\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_LINK = re.compile(r"https?://[^\s<>\"'`{}|\\^]{1,2000}", re.IGNORECASE)


def one_line(text: str) -> str:
    """Text for one row: a name, a preview."""
    return clean(text.replace("\r\n", "\n").replace("\n", " ").replace("\t", " ")).strip()


def clean(text: str) -> str:
    """Text in which every character is either printable or ``\\n``.

    Controls (C0, C1), line separators and what turns the direction around become U+FFFD, so that one sees
    that something was there; other invisible characters are dropped. Emoji that are joined from several are
    taken apart, and a flag becomes its letters: terminals draw those in different widths, and a column off
    by one tears the whole screen.
    """
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    if _PLAIN.match(text):
        return text
    text = unicodedata.normalize("NFC", text)
    out: list[str] = []
    marks = 0
    for index, character in enumerate(text):
        if " " <= character <= "~" or character == "\n":
            out.append(character)
            marks = 0
            continue
        if character in _DROPPED:
            continue
        category = unicodedata.category(character)
        if category in ("Mn", "Me", "Mc"):
            marks += 1
            if marks <= MAX_MARKS and out and out[-1] != "\n":
                out.append(character)
            continue
        if category == "Cf":
            if character == NON_JOINER and _between_letters(text, index):
                out.append(character)
            elif "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069":
                out.append(REPLACEMENT)
            continue
        marks = 0
        if category in ("Cc", "Zl", "Zp", "Cs", "Co", "Cn"):
            out.append(REPLACEMENT)
        elif "\U0001f1e6" <= character <= "\U0001f1ff":  # regional indicators
            out.append(chr(ord(character) - 0x1F1E6 + ord("A")))
        elif category == "Zs":
            out.append(" ")
        else:
            out.append(character)
    return "".join(out)


def _between_letters(text: str, index: int) -> bool:
    """Where Persian and others need it."""
    near = text[index - 1 : index] + text[index + 1 : index + 2]
    return len(near) == 2 and all(unicodedata.category(c)[0] in "LM" for c in near)


@lru_cache(4096)
def width(text: str) -> int:
    """Cells of cleaned text: character by character, as a terminal without knowledge of clusters counts."""
    if text.isascii():
        return len(text)
    return sum(get_character_cell_size(character) for character in text)


def cut(text: str, room: int) -> str:
    """``text`` in at most ``room`` cells, with … where something is missing."""
    if width(text) <= room:
        return text
    if room <= 0:
        return ""
    used, out = 1, []
    for character in text:
        size = get_character_cell_size(character)
        if used + size > room:
            break
        out.append(character)
        used += size
    return "".join(out).rstrip() + "…"


def wrap(text: str, room: int, *, limit: int = 0) -> list[tuple[int, int]]:
    """Where the rows of cleaned text begin and end, each at most ``room`` cells wide.

    Breaks at spaces where it can (they are left out), inside of words that are too long, and never between a
    letter and its marks. ``limit``: give up after so many rows; 0: none.
    """
    room = max(2, room)
    rows: list[tuple[int, int]] = []
    start = 0
    while True:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        _wrap_line(text, start, end, room, rows)
        if end == len(text) or (limit and len(rows) >= limit):
            return rows[:limit] if limit else rows
        start = end + 1


def _wrap_line(text: str, start: int, end: int, room: int, rows: list[tuple[int, int]]) -> None:
    if end - start <= room and text[start:end].isascii():
        rows.append((start, end))
        return
    begin, used, space = start, 0, -1
    index = start
    while index < end:
        character = text[index]
        size = 1 if character <= "~" else get_character_cell_size(character)
        if used + size > room:
            if character == " ":
                rows.append((begin, index))
                begin = index + 1
            elif space > begin:
                rows.append((begin, space))
                begin = space + 1
            else:
                rows.append((begin, index))
                begin = index
            used, space = width(text[begin:index]), -1
            if index < begin:
                index = begin
                continue
        if character == " ":
            space = index
        used += size
        index += 1
    rows.append((begin, end))


def right_to_left(text: str) -> bool:
    """Whether the first letter with a direction is Hebrew, Arabic or of a like script (UAX #9, rule P2)."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction == "L":
            return False
        if direction in ("R", "AL"):
            return True
    return False


def has_right_to_left(text: str) -> bool:
    """Whether a terminal may reorder some of it."""
    return not text.isascii() and any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)


def links(text: str) -> list[tuple[int, int]]:
    """Where the web addresses are. Only http and https: what is clicked must not start a program."""
    found = []
    for match in _LINK.finditer(text):
        end = match.end()
        while end > match.start() and text[end - 1] in ".,;:!?)]…»*_":
            if text[end - 1] == ")" and "(" in text[match.start() : end - 1]:
                break
            end -= 1
        if end - match.start() > len("https://"):
            found.append((match.start(), end))
    return found
