"""What one device is sent of calls that ring for its user (:mod:`notifications.rings`)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from psycopg_pool import AsyncConnectionPool

from notifications import content
from notifications.keys import collapse_key, push_id
from notifications.plans import Planned, Told
from notifications.presence import Presence
from notifications.quiet import quiet_until
from notifications.reached import Reached, State, blocked, states
from notifications.rings import OVER, RINGS, Ring, said
from notifications.senders.interface import Push, Urgency


class Calling(NamedTuple):
    """One call, and what one device was told of it."""

    of: Reached
    connected: bool
    ring: Ring
    state: State

    @property
    def again(self) -> int:
        """When the device is to be looked at again, ms: what rings then is taken back. 0: not for this."""
        return 0 if self.ring.over or self.state.seq >= OVER else self.ring.until

    def pushes(self, now: int) -> list[Planned]:
        """At most one. Whoever is connected has it on the socket; nothing rings in quiet hours."""
        if self.ring.rings(now):
            if self.state.seq or self.connected or quiet_until(now, *self.of.quiet):
                return []
            return [self._rings(now)]
        return [self._over()] if self.state.seq == RINGS else []

    def _rings(self, now: int) -> Planned:
        target, ring = self.of.target, self.ring
        push = Push(
            id=push_id(target.device, "call", ring.call),
            collapse=collapse_key(target.device, ring.call),
            urgency=Urgency.CALL,
            ttl_s=max(1, (ring.until - ring.since) // 1000),
            badge=None,
            content=said(ring) if self.of.has_keys else None,
        )
        # What waits for its turn until the call is over is not sent.
        return Planned(target, push, (Told(ring.call, RINGS, RINGS),), min(ring.since, now))

    def _over(self) -> Planned:
        target, ring = self.of.target, self.ring
        key = collapse_key(target.device, ring.call)
        push = Push(
            id=push_id(target.device, "call over", ring.call),
            collapse=key,
            urgency=Urgency.SILENT,
            ttl_s=60,
            badge=None,
            content=content.clear([key]) if self.of.has_keys else None,
        )
        return Planned(target, push, (Told(ring.call, OVER),))


async def calling(
    pool: AsyncConnectionPool,
    devices: Sequence[tuple[Reached, Presence]],
    ringing: Mapping[str, Sequence[Ring]],
) -> dict[str, list[Calling]]:
    """By device the calls that ring for its user, or rang a moment ago; none of callers whom the user has blocked."""
    asked = [(one, presence, ring) for one, presence in devices for ring in ringing.get(one.target.user, ())]
    if not asked:
        return {}
    pairs = list({(one.target.user, ring.caller) for one, _, ring in asked})
    told, strangers = await asyncio.gather(
        states(pool, [(one.target.device, ring.call) for one, _, ring in asked]), blocked(pool, pairs)
    )
    found: dict[str, list[Calling]] = defaultdict(list)
    for one, presence, ring in asked:
        if (one.target.user, ring.caller) in strangers:
            continue
        state = told.get((one.target.device, ring.call), State())
        found[one.target.device].append(Calling(one, bool(presence.opened), ring, state))
    return found
