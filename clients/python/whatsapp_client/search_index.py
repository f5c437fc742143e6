"""Search in what is stored here: SQLite's FTS5 over the texts of messages.

The index has no copy of the texts (a contentless table). Triggers keep it in step with the entries, in whatever transaction they
change: an edit, a delete, what vanishes, is hidden or pruned leaves it as well. What FTS5 only marks as deleted is
taken out by :func:`scrub` a moment later.

Words are folded before they are indexed and before they are sought: case, accents and width do not matter, and each
character of a script without spaces is a word, so that any part of a Chinese text is found, also a single character. The
fold depends on Python's tables of Unicode; with others the index is made anew when the file is opened.

A row of the index has a number that begins with the message's time, so the newest are found first without sorting.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata

VERSION = f"1 {unicodedata.unidata_version}"
LOW_BITS = 21  #: of a row's number; above them are ms
MAX_TEXT = 65_536
STEP = 64  #: pages of the index

SPACELESS = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U000323af])"
)
WORDS = re.compile(r"[^\W_]+")
_SOUND = "\u3099\u309a"  #: か and が are different letters

_INDEXED = "{0}.type = 'message' AND {0}.kind = 'text' AND {0}.content IS NOT NULL AND {0}.flags & 8 = 0"
_ROW = (
    f"({{0}}.server_timestamp << {LOW_BITS}) | (({{0}}.conversation * 65537 + {{0}}.seq) & {(1 << LOW_BITS) - 1}), "
    "folded({0}.content), 'c' || {0}.conversation"
)
_ADD = f"INSERT INTO texts (rowid, text, chat) SELECT {_ROW} WHERE {_INDEXED};"
_TAKE = f"INSERT INTO texts (texts, rowid, text, chat) SELECT 'delete', {_ROW} WHERE {_INDEXED};"
_SETUP = (
    "DROP TABLE IF EXISTS texts",
    # FTS5 cuts words by itself too, but by tables of its own; after the fold both agree on what is a letter.
    "CREATE VIRTUAL TABLE texts USING fts5 (text, chat, content = '', tokenize = 'unicode61 remove_diacritics 0')",
    f"CREATE TRIGGER entries_found AFTER INSERT ON entries BEGIN {_ADD.format('new')} END",
    "CREATE TRIGGER entries_found_anew AFTER UPDATE OF content, type, kind, flags, server_timestamp ON entries "
    "WHEN old.content IS NOT new.content OR old.type <> new.type OR (old.flags & 8) <> (new.flags & 8) "
    f"BEGIN {_TAKE.format('old')} {_ADD.format('new')} END",
    f"CREATE TRIGGER entries_lost AFTER DELETE ON entries BEGIN {_TAKE.format('old')} END",
)
_TRIGGERS = ("entries_found", "entries_found_anew", "entries_lost")


def fold(text: str) -> str:
    """The words of a text as the index has them, with a space between them."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(c for c in text if not unicodedata.combining(c) or c in _SOUND)
        text = SPACELESS.sub(r" \1 ", unicodedata.normalize("NFKC", text))
    return " ".join(WORDS.findall(text.lower()))


def _folded(content: bytes | None) -> str:
    return fold((content or b"").decode("utf-8", "replace")[:MAX_TEXT])


def prepare(sql: sqlite3.Connection) -> None:
    """Before anything is written: the triggers need it."""
    sql.create_function("folded", 1, _folded, deterministic=True)


def install(sql: sqlite3.Connection, version: str) -> str | None:
    """Make the index if there is none, or it was made by another ``version``. Returns the version to keep, None for the same.
    Needs the tables as they are now."""
    if version == VERSION:
        return None
    for trigger in _TRIGGERS:
        sql.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for statement in _SETUP:
        sql.execute(statement)
    sql.execute(
        f"INSERT INTO texts (rowid, text, chat) SELECT {_ROW.format('e')} FROM entries e WHERE {_INDEXED.format('e')} "
        "ORDER BY server_timestamp"
    )
    return VERSION


def scrub(sql: sqlite3.Connection, *, begin: bool) -> bool:
    """Take what was deleted out of the index, a part of it; False when nothing is left to do. FTS5 keeps deleted words until
    their part of the index is written anew."""
    before = sql.total_changes
    sql.execute("INSERT INTO texts (texts, rank) VALUES ('merge', ?)", (-STEP if begin else STEP,))
    return sql.total_changes - before >= 2
