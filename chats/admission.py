"""Who may authenticate now, and when the others come again: what protects those who are here from a herd that is not.

When a gateway dies, all its clients come to the others at once. Each authentication costs PostgreSQL, the hot node and about
half a millisecond of the loop that also carries the messages of everybody who never left. So authentications pass a token
bucket; beyond it a client is told when to come again (``reconnect`` with ``afterMs``, then 1013). Slots follow each other at
nine tenths of the bucket's rate, so those who were turned away come back as a stream that the bucket lets through, with a
tenth left for newcomers.

A slot is remembered by device: who has one and comes in it is let in before newcomers, even ahead of the bucket by one burst.
Behind a balancer a client may come to another gateway, which knows nothing of its slot; there it is a newcomer in a stream
that is no faster than the rate, and gets a token as good as always (ADR 0116). A device has a rate of its own as well. Nothing
here touches PostgreSQL or the hot node. Times are ms of the one clock, passed in; a clock that was set back forgets the slots.
"""

from __future__ import annotations

import logging
import random

from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS, Rate

log = logging.getLogger(__name__)

#: Part of the rate that slots may take.
SLOTTED = 0.9
#: How long after its slot a device is still let in by it: networks, TLS and clients' own jitter.
LATE_MS = 10_000
#: Added to a slot when it is told, so that those of several gateways do not fall together.
JITTER_MS = 100
#: Slots that are remembered; later ones are told all the same.
MAX_SLOTS = 100_000
#: Devices, and addresses, of which it is remembered how often they came.
MAX_RATES = 100_000
MINUTE_MS = 60_000
#: The rate of slots where authentications have no limit.
UNLIMITED_PER_MINUTE = 60_000


def step_ms() -> float:
    """From one slot to the next."""
    return MINUTE_MS / ((LIMITS.authentications_per_minute or UNLIMITED_PER_MINUTE) * SLOTTED)


class Slots:
    """Times one after the other at the rate of authentications, the first ``least_ms`` from when nobody waits."""

    def __init__(self, least_ms: int) -> None:
        self.least_ms = least_ms
        self.last = 0.0

    def next(self, now: float) -> float | None:
        """The next slot, ms; None when it would be more than ``slot_most_ms`` away: slots that far are not kept in order."""
        slot = max(self.last + step_ms(), now + self.least_ms)
        if slot > now + LIMITS.slot_most_ms:
            return None
        self.last = slot
        return slot

    def after(self, now: float) -> int:
        """The same as ``afterMs`` of a `reconnect`, with jitter."""
        slot = self.next(now)
        if slot is None:
            return _far()
        return _after(slot, now)


class Rates:
    """A rate for each of many who are not known before: devices, addresses. Whose rate is whole again is forgotten, and if they
    are too many who came first."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}  # who came last is last

    def take(self, who: str, per_minute: int, now: float) -> float:
        """Take one. Returns 0 when allowed, otherwise ms until it would be."""
        rate = self._rates.pop(who, None)
        while self._rates:
            longest, other = next(iter(self._rates.items()))
            if other.tat > now and len(self._rates) < MAX_RATES:
                break
            del self._rates[longest]
        if rate is None or rate.tat > now + MINUTE_MS:  # the clock was set back
            rate = Rate()
        self._rates[who] = rate
        return rate.take(now, per_minute, MINUTE_MS)

    def __len__(self) -> int:
        return len(self._rates)


class Admission:
    """The bucket of one gateway, and the slots that it has given."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}  # device → its slot, earliest first
        self._slots = Slots(LIMITS.slot_least_ms)
        self._tokens = float(LIMITS.authentications_burst)
        self._at = 0.0  # when ``_tokens`` was right
        self._rates = Rates()  # of devices that were let in

    def enter(self, device: str, now: float) -> int:
        """Whether this device, whose token is good, may authenticate now: 0, or else the ms after which it should come again."""
        if not LIMITS.authentications_per_minute:
            return 0
        self._advance(now)
        slot = self.due.get(device)
        in_slot = slot is not None and slot <= now and self._tokens > -LIMITS.authentications_burst
        if in_slot or self._tokens >= 1:
            # One token of an account lets a device in as often as it likes: that must not be what the others need.
            over = self._rates.take(device, LIMITS.authentications_per_device, now)
            if over:
                metrics.count("admissions", "device")
                return max(1, round(over))
            self._tokens -= 1
            self.due.pop(device, None)
            metrics.count("admissions", "slot" if in_slot else "admitted")
            return 0
        metrics.count("admissions", "turned_away")
        if slot is not None and slot > now:
            return _after(slot, now)  # too early: it keeps its place
        if not self.due:
            log.warning(
                "more devices authenticate than this gateway lets in; the others are told when to come again"
            )
        self.due.pop(device, None)
        slot = self._slots.next(now)
        if slot is None:
            return _far()
        if len(self.due) < MAX_SLOTS:
            self.due[device] = slot
        return _after(slot, now)

    def furthest_s(self, now: float) -> float:
        """How far away the last slot is that was given, seconds; 0 when nobody waits."""
        return max(0.0, self._slots.last - now) / 1000

    def _advance(self, now: float) -> None:
        if now < self._at:
            # The clock was set back: what lies ahead by it would be as much too far away.
            self._slots.last -= self._at - now
            self.due.clear()
        else:
            earned = (now - self._at) * LIMITS.authentications_per_minute / MINUTE_MS
            self._tokens = min(float(LIMITS.authentications_burst), self._tokens + earned)
        self._at = now
        while self.due:
            device, slot = next(iter(self.due.items()))
            if slot + LATE_MS >= now:
                break
            del self.due[device]


def _far() -> int:
    return random.randrange(LIMITS.slot_most_ms // 2, LIMITS.slot_most_ms)


def _after(slot: float, now: float) -> int:
    return max(1, round(slot - now + random.uniform(0, JITTER_MS)))


def most_connections(descriptors: int) -> int:
    """The cap of a gateway that may have so many open files: the limit, or what is left beside its other files."""
    return max(1, min(LIMITS.connections, descriptors - min(1_024, descriptors // 8)))
