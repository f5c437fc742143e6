"""How work on a stranger's file can end when it does not end well: by the file's doing, or by the machine's."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a file is refused. Names are kept: they are stored with objects and shown to clients."""

    EMPTY = "empty"
    NOT_ALLOWED = "not_allowed"  # a kind that is not on the list, or one that nothing here can make harmless
    MISMATCH = "mismatch"  # not what it was declared to be, or more than one thing at once
    UNREADABLE = "unreadable"  # broken, cut off, or a decoder died of it
    ANIMATED = "animated"
    PIXELS = "pixels"  # more of them than are decoded
    TOO_LONG = "too_long"  # in time
    EXPANDS = "expands"  # an archive that unpacks to far more than it is
    REFERENCES = "references"  # it wants other files or addresses read
    INFECTED = "infected"  # a scanner knows it
    BLOCKED = "blocked"  # staff have blocked this very content (``media/services/blocking.py``)
    RESOURCES = "resources"  # processor time, memory or output beyond their bounds


class Refused(Exception):
    """The file's doing: trying again would end the same way. ``said`` is the end of what the tool said, for logs only; a
    stranger's file has a part in its words. ``code`` is its exit code, if it had one."""

    def __init__(self, reason: Reason, said: str = "", code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = said
        self.code = code


class Unfinished(Exception):
    """The machine's doing: the file may be good, try again later."""


class Busy(Unfinished):
    """No process, memory or disk to be had, or somebody else ended the tool."""


class Late(Unfinished):
    """Not done when its time on the wall was over, though it had processor time left."""


class Missing(Unfinished):
    """The program is not installed on this machine. Its text is the program's name."""
