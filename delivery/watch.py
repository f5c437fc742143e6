"""What one session is told of one user whom it follows: no more than that user shows to it."""

from __future__ import annotations

import asyncio
from typing import Literal, NamedTuple

from delivery.ports import NOTHING, Shown
from delivery.session import Session
from whatsapp.wire import frames

Status = Literal["online", "offline", "away", "unknown"]
DIRECTLY = ""  # in place of the chat through which a user is followed


class Watch:
    """How one session follows one user. Times of the loop's clock, s."""

    __slots__ = ("changes", "shown", "status", "told_at", "until")

    def __init__(self) -> None:
        self.until: dict[str, float] = {}  # by the chat through which it does, or DIRECTLY
        self.status: Status | None = None  # what the session was told last
        self.told_at = 0.0
        self.shown = NOTHING  # what the session's user may be told
        self.changes = 0  # how often that was said to have changed


class Change(NamedTuple):
    user: str
    status: Status
    seen: int | None
    read_at: float | None  # see Presence._tell


def tell_one(session: Session, watch: Watch, change: Change) -> None:
    if not anything(watch.shown):
        return  # its answer is on the way
    if change.read_at is not None and (watch.status is None or watch.told_at >= change.read_at):
        return
    status = status_for(change.status, watch.shown)
    known, watch.status, watch.told_at = watch.status, status, asyncio.get_running_loop().time()
    if known != status:
        session.send(presence_frame(change.user, change.status, change.seen, watch.shown))


def anything(shown: Shown) -> bool:
    return shown.online or shown.last_seen


def status_for(status: Status, shown: Shown) -> Status:
    return status if shown.online else "unknown"


def presence_frame(user: str, status: Status, seen: int | None, shown: Shown) -> frames.Presence:
    """Who is shown to be online was not last seen: it is there. For whom that is hidden, ``last_seen`` is there in any case, or
    its absence would tell."""
    status = status_for(status, shown)
    last_seen = seen if shown.last_seen and status != "online" else None
    return frames.Presence(status, user_id=user, last_seen=last_seen)
