"""Lives of a log: after a restore that may have lost something, no number is given out that was perhaps given out before.

A device may have what was lost, and has acknowledged it; were its numbers given to something else, it would never ask for that.
So the first number that a conversation gives out in a new life lies far above its head, and those in between are void, as any
that never came. Whoever restores names the new life (``LOG_LIFE``), by the time of the restore.
"""

from __future__ import annotations

from typing import Final

from delivery.store.cassandra.document import Document

#: More than a conversation got in what may be lost.
SKIPPED: Final = 10_000

_current = 0


def set_current(life: int) -> None:
    """Of this process. 0: the log was never restored."""
    global _current
    _current = life


def begins(document: Document) -> bool:
    """Whether the document has given out no number in this life: its next one is above what a copy of it may give out."""
    return document.life < _current


def begin(document: Document) -> None:
    """Before a number is given out."""
    if begins(document):
        if document.given:
            document.base = document.given + SKIPPED
        document.life = _current
