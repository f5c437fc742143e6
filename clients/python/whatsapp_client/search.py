"""Questions to the index of texts, and what is shown of an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .database import Database
from .entry import Entry
from .history import History
from .reading import COLUMNS
from .search_index import LOW_BITS, MAX_TEXT, SPACELESS, fold

MAX_WORDS = 16  #: of one question
MAX_WORD = 64  #: characters
MAX_FOUND = 500
SNIPPET = 80  #: characters around the first word that was found
#: A word as it stands in a text: letters with their accents.
_RUN = re.compile(
    r"[^\W_](?:[^\W_]|[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed])*"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A message, and the part of it where the first word was found: ``snippet``, with what was found between ``marks``
    (places in the snippet: begin, end)."""

    entry: Entry
    snippet: str
    marks: tuple[tuple[int, int], ...] = ()


def question(text: str, number: int | None = None) -> str:
    """What to ask the index; "" when there is no word in the text. Nothing of the text has a meaning for FTS5: words are
    letters and digits, between quotes."""
    words: list[str] = []
    for part in re.split(r"\s+", text[:MAX_TEXT].strip())[:MAX_WORDS]:
        folded = fold(part)[: MAX_WORD * 2]
        if folded:
            words.append(f'"{folded}"')
    if not words:
        return ""
    if not text[-1:].isspace():
        words[-1] += " *"  # it may go on
    asked = f"text : ({' AND '.join(words)})"
    return asked if number is None else f"{asked} AND chat : c{number}"


def find(
    database: Database,
    history: History,
    text: str,
    conversation_id: str | None,
    limit: int,
    before: Found | None,
) -> list[Found]:
    """Newest first. ``before``: the last of an earlier page."""
    number = history[conversation_id].log.known_number if conversation_id is not None else None
    asked = question(text, number)
    if not asked or number == 0:
        return []
    logs = {log.known_number: log for log in (conversation.log for conversation in history)}
    below = 2**63 - 1
    if before is not None:
        log = history[before.entry.conversation_id].log
        below = _row(log.known_number, before.entry)
    found: list[Found] = []
    rows = database.read(
        "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
        (asked, below, max(0, min(limit, MAX_FOUND))),
    ).fetchall()
    for (row,) in rows:
        for conversation, *columns in database.read(
            f"SELECT conversation, {COLUMNS} FROM entries WHERE server_timestamp = ? "
            f"AND (conversation * 65537 + seq) & {(1 << LOW_BITS) - 1} = ?",
            (row >> LOW_BITS, row & ((1 << LOW_BITS) - 1)),
        ).fetchall():
            log_ = logs.get(conversation)
            if log_ is not None and (number is None or number == conversation):
                entry = log_.entry(tuple(columns))
                found.append(Found(entry, *snippet(entry.text, text)))
    return found


def _row(number: int, entry: Entry) -> int:
    row = entry.server_timestamp << LOW_BITS | ((number * 65537 + entry.seq) & ((1 << LOW_BITS) - 1))
    return (row + 2**63) % 2**64 - 2**63  # as SQLite shifts what a broken clock says


def snippet(text: str, asked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of a text around the first word that was found, and where words were found in it."""
    wanted = [fold(part).split() for part in re.split(r"\s+", asked[:MAX_TEXT].strip())[:MAX_WORDS]]
    begins = tuple(words[0] for words in wanted if words)
    places: list[tuple[int, int]] = []
    for found in _RUN.finditer(text):
        for word, begin, end in _parts(found):
            if word and any(word == b or (b is begins[-1] and word.startswith(b)) for b in begins):
                places.append((begin, end))
    first = places[0][0] if places else 0
    start = max(0, first - SNIPPET // 4)
    end = min(len(text), start + SNIPPET)
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    marks = tuple((b + shift, min(e, end) + shift) for b, e in places if start <= b < end)
    return before + text[start:end].replace("\n", " ") + after, marks


def _parts(found: re.Match[str]) -> list[tuple[str, int, int]]:
    """(folded, begin, end) of the words in a run of letters."""
    run, at = found.group(), found.start()
    if run.isascii() or not SPACELESS.search(run):
        return [(fold(run), at, found.end())]
    return [(fold(character), at + i, at + i + 1) for i, character in enumerate(run)]
