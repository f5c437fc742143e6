"""Events as they travel over the bus: an array, of which each process takes the places that it knows.

A process of the version before takes no more places than it knows, and drops what has more: its sessions would hear of it by the
next event or the check of all sessions. So places that were added since, at the end, are there only when they say something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple, fields

from delivery.store.values import Logged

#: Places that the version before knows.
BEFORE = 14
_PLACES = len(fields(Logged))


def wired(logged: Logged) -> Logged | tuple[Any, ...]:
    return logged if logged.until or logged.request or logged.form else astuple(logged)[:BEFORE]


def unwired(raw: Sequence[Any]) -> Logged:
    """Also of what the version after has added."""
    return Logged(*raw[:_PLACES])
