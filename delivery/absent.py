"""Who was marked and has no session: from the answers that the fan-out has anyway, to whoever sends push notifications.

What is not worth a look is left out: one's own messages, reactions and votes. A message is reported at once; what changes or
takes away one may wait for a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final

from psycopg_pool import AsyncConnectionPool

from delivery.ports import Absent
from delivery.store.values import DeviceRow, Logged
from delivery.view import EVENT_KINDS
from whatsapp.infra import faults
from whatsapp.infra.bus import Bus

log = logging.getLogger(__name__)

#: Events that change nothing that a notification or a badge says.
_QUIET: Final = frozenset(("reaction", "vote"))
#: What is not to be told, but may change what was: it gathers for so long.
CHANGES_MS: Final = 2_000

#: Makes the port of a process of the workers; bound in the composition root (``whatsapp/celery.py``). None: nobody is told.
Make = Callable[[Bus, AsyncConnectionPool], Absent]
make: Make | None = None

#: The devices of a user that have a session; None: that cannot be known, its node is away.
There = Callable[[str], Container[str] | None]


def report_events(
    to: Absent,
    parts: Iterable[tuple[Sequence[Logged], Sequence[str]]],
    devices: Mapping[str, Sequence[DeviceRow]],
    there: There,
) -> None:
    """``parts``: events of one conversation, and the users who are owed all of them. Never raises."""
    if faults.off("push_report"):
        return
    try:
        soon, later = _absent(parts, devices, there)
        if soon:
            to.devices(soon)
        if later:
            to.devices(later, CHANGES_MS)
    except Exception:
        log.exception("absent devices were not reported")


def report_marked(
    to: Absent, marked: Iterable[tuple[str, str]], sessions: Mapping[str, Container[str]]
) -> None:
    """The same of (user, device) that were marked with whatever there is. Who is not in ``sessions`` is unknown. Never raises."""
    if faults.off("push_report"):
        return
    try:
        absent = [
            (user, device) for user, device in marked if user in sessions and device not in sessions[user]
        ]
        if absent:
            to.devices(absent)
    except Exception:
        log.exception("absent devices were not reported")


def _absent(
    parts: Iterable[tuple[Sequence[Logged], Sequence[str]]],
    devices: Mapping[str, Sequence[DeviceRow]],
    there: There,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    soon: list[tuple[str, str]] = []
    later: list[tuple[str, str]] = []
    for logged, users in parts:
        senders, changes = set(), False
        for event in logged:
            if event.kind not in EVENT_KINDS:
                senders.add(event.sender)
            elif event.kind not in _QUIET:
                changes = True
        if not senders and not changes:
            continue
        for user in users:
            if senders and (len(senders) > 1 or user not in senders):
                into = soon
            elif changes:
                into = later
            else:
                continue
            sessions = there(user)
            if sessions is None:
                continue
            for row in devices[user]:
                if row.device not in sessions:
                    into.append((user, row.device))
    return soon, later
