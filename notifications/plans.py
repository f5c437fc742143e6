"""What passes between the three steps of a worker: who is due (:mod:`notifications.due`) → what they are sent
(:mod:`notifications.policy`) → what became of it (:mod:`notifications.dispatch`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from notifications.senders.interface import Push, Target


class Told(NamedTuple):
    """What a device knows of a conversation: a row of :class:`notifications.models.PushState`. ``seq`` is never lowered, the rest
    is as the last push says."""

    conversation: str
    seq: int  # the device was told up to there
    shown: int = 0  # the message that its notification is about; 0: it shows none (any more)
    until: int = 0  # when that message vanishes, ms; 0: never


class Planned(NamedTuple):
    """One notification, and what is true of its device once the provider has accepted it."""

    target: Target
    push: Push
    told: tuple[Told, ...]
    #: Since when it could be sent, ms since the epoch: when the newest event that it tells of was stored, or the end of quiet
    #: hours. Its ``ttl_s`` runs from there, and so does what is measured. None: from now, and it is not measured.
    at: int | None = None


#: Called with each user of a plan who was told everything, or cannot be now, and then when to look again, ms since the epoch.
Ended = Callable[[str, int | None], None]


class Plan(NamedTuple):
    pushes: list[Planned]
    #: user → when to look again, ms since the epoch: the end of quiet hours, the end of the wait for an acknowledgement.
    again: dict[str, int]
