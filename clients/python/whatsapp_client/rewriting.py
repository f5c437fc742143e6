"""What is said about a message makes of it: edits, deletes, and its end on this device.

Everything here is the same whatever came first, the message or what was said about it: an edit that is read live before the
page that its message is on, a page that was asked for before a delete and comes after it. The last word counts, by its
number in the log.
"""

from __future__ import annotations

from .database import Database

EDITED, DELETED, STARRED, ONCE, OPENED = 1, 2, 4, 8, 16
GONE = "gone"  #: the type of an entry of which nothing but its place is left


def target(database: Database, number: int, message_id: str) -> tuple[int, str, int, str] | None:
    """(seq, sender, flags, type) of the message that is meant: the first with this id."""
    return database.read(
        "SELECT seq, sender, flags, type FROM entries INDEXED BY entries_once "
        "WHERE message_id = ? AND message_id <> '' AND conversation = ? "
        "ORDER BY seq LIMIT 1",
        (message_id, number),
    ).fetchone()


def settle(database: Database, number: int, message_id: str) -> None:
    """A message is here, or something was said about it: it becomes what the log says now."""
    found = target(database, number, message_id)
    if found is None:
        return
    seq, sender, flags, type_ = found
    if type_ == GONE:
        vanish(database, number, seq, message_id)
        return
    said = database.read(
        "SELECT seq, sender, type, content IS NOT NULL FROM entries WHERE conversation = ? AND target = ? AND target <> '' "
        "AND type IN ('edit', 'delete') AND seq > ? ORDER BY seq DESC",
        (number, message_id, seq),
    ).fetchall()
    if flags & DELETED or any(kind == "delete" for _, _, kind, _ in said):
        erase(database, number, seq, message_id)
        return
    edits = [at for at, who, kind, content in said if kind == "edit" and who == sender and content]
    if edits:
        database.write(
            "UPDATE entries SET flags = flags | ?, content = "
            "(SELECT content FROM entries WHERE conversation = ? AND seq = ?) WHERE conversation = ? AND seq = ?",
            (EDITED, number, edits[0], number, seq),
        )
        database.scrub_soon()
    for at in edits[1:]:  # what it said in between is not kept
        database.write("UPDATE entries SET content = NULL WHERE conversation = ? AND seq = ?", (number, at))


def erase(database: Database, number: int, seq: int, message_id: str) -> None:
    """Deleted for everyone: its place stays, and that it was deleted."""
    database.scrub_soon()
    database.write(
        "UPDATE entries SET content = NULL, flags = ?, fields = '', expires_at = 0 WHERE conversation = ? AND seq = ?",
        (DELETED, number, seq),
    )
    database.write(
        "UPDATE entries INDEXED BY entries_target SET content = NULL, fields = '' "
        "WHERE conversation = ? AND target = ? AND target <> '' "
        "AND type IN ('edit', 'reaction', 'vote') AND fields <> ''",
        (number, message_id),
    )


def vanish(database: Database, number: int, seq: int, message_id: str) -> None:
    """Gone from this device, with all that was said about it; the place stays, so that nobody brings it again."""
    database.scrub_soon()
    database.write(
        "UPDATE entries SET type = ?, kind = '', content = NULL, flags = 0, fields = '', timestamp = 0, device = '', "
        "expires_at = 0 WHERE conversation = ? AND seq = ?",
        (GONE, number, seq),
    )
    database.write(
        "UPDATE entries INDEXED BY entries_target "
        "SET type = ?, kind = '', content = NULL, flags = 0, fields = '', timestamp = 0, target = '' "
        "WHERE conversation = ? AND target = ? AND target <> ''",
        (GONE, number, message_id),
    )
