"""What one device is sent, once it is known what it has not heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delivery.store.values import Logged
from notifications import content
from notifications.keys import collapse_key, push_id
from notifications.plans import Planned, Told
from notifications.presence import Presence
from notifications.quiet import quiet_until
from notifications.reached import Reached
from notifications.senders.interface import Push, Urgency
from notifications.unheard import Unheard
from whatsapp.infra.limits import LIMITS


class Fresh(NamedTuple):
    """What a device is to be told of a conversation. The events themselves may be large and are not kept."""

    since: int  # when the oldest of them was stored, ms
    at: int  # when the newest was
    seq: int
    until: int  # when it vanishes, ms; 0: never
    sender: str
    said: bytes | None  # for the app alone; None: the device has no keys


class Heard(NamedTuple):
    """A conversation, as its events say."""

    of: Unheard
    fresh: Fresh | None  # None: there is nothing to tell
    through: int  # this is known of it up to there
    clear: bool  # what the device shows of it is to be taken back
    unread: bool = False  # there may be something to tell: its events were not read

    @property
    def told(self) -> Told:
        """What the device knows of it, if it is told nothing."""
        return Told(self.of.conversation, self.through, self.of.state.shown, self.of.state.until)


def fresh(one: Unheard, events: Sequence[Logged]) -> Fresh | None:
    told = one.fresh(events)
    if not told:
        return None
    reached, newest, said = one.reached, told[-1], None
    if reached.has_keys:
        # A stranger's words wait until they were asked for.
        preview = reached.preview and not newest.request
        said = content.message(newest, len(told), reached.target.user, reached.target.device, preview=preview)
    return Fresh(told[0].at, newest.at, newest.seq, newest.until, newest.sender, said)


class Draft:
    """For one device. ``badge``: what its icon is to show."""

    def __init__(
        self, one: Reached, presence: Presence, badge: int, heard: Sequence[Heard], now: int
    ) -> None:
        self._reached, self._presence, self._badge, self._now = one, presence, badge, now
        self._heard = heard
        self.again: list[int] = []  # when it is to be looked at again, ms

    def pushes(self) -> list[Planned]:
        """In the order in which they are to be shown."""
        if self._presence.opened and self._answers():
            return []
        fresh = sorted((one for one in self._heard if one.fresh), key=_newest_at)
        unread = [one for one in self._heard if one.unread]
        quiet = quiet_until(self._now, *self._reached.quiet)
        if quiet and (fresh or unread):
            self.again.append(quiet)
            fresh = []
        shown, passed = fresh[-LIMITS.push_conversations :], fresh[: -LIMITS.push_conversations] + unread
        planned = [self._message(one) for one in shown]
        if passed and planned:  # told of by the badge alone, from now on
            first = planned[0]
            planned[0] = first._replace(told=first.told + tuple(one.told for one in passed))
        replaced = {one.of.conversation for one in shown}
        rest = [one for one in self._heard if one.of.conversation not in replaced]
        clear = [one for one in rest if one.clear]
        if len(clear) > content.CLEARED_AT_ONCE:
            clear = clear[: content.CLEARED_AT_ONCE]
            self.again.append(self._now + 1_000)
        for one in rest:
            if one.of.shows and not one.clear:  # what vanishes is taken back in its time
                self._until(one.of.state.until)
        if clear or (not planned and self._badge_is_old()):
            planned.append(self._silent(clear))
        return planned

    def _answers(self) -> bool:
        """Whether a connected device is to be left alone: it acknowledges, or has not had the time to."""
        opened = self._presence.opened
        pending, waits = [], []
        for one in self._heard:
            state = one.of.state
            if one.of.shows:  # it was told, and is connected: it acknowledges soon, or has not done so since
                waits.append(max(opened, state.told_at))
                if one.clear:
                    pending.append(waits[-1])
            if one.fresh:
                waits.append(max(opened, one.fresh.since))
                pending.append(waits[-1])
        if any(at + LIMITS.push_unacked_ms <= self._now for at in waits):
            return False
        if pending:
            self.again.append(min(pending) + LIMITS.push_unacked_ms)
        return True

    def _badge_is_old(self) -> bool:
        """Whether the icon may show something else: a device that was connected since has counted for itself."""
        one = self._reached
        return self._badge != one.badge or max(self._presence.seen, one.seen_at) > one.success_at

    def _until(self, at: int) -> None:
        if at > self._now:
            self.again.append(at)

    def _message(self, heard: Heard) -> Planned:
        target, conversation, fresh = self._reached.target, heard.of.conversation, heard.fresh
        assert fresh is not None
        at = fresh.at
        if self._presence.opened:
            at = max(at, max(self._presence.opened, fresh.since) + LIMITS.push_unacked_ms)
        at = max(at, quiet_until(at, *self._reached.quiet))
        at = min(at, self._now)
        ends = at + LIMITS.push_oldest_ms
        if fresh.until:
            ends = min(ends, fresh.until)
            self._until(fresh.until)
        push = Push(
            id=push_id(target.device, conversation, fresh.seq),
            collapse=collapse_key(target.device, conversation),
            urgency=Urgency.MESSAGE,
            ttl_s=max(1, (ends - at) // 1000),
            badge=self._badge,
            content=fresh.said,
        )
        return Planned(target, push, (Told(conversation, heard.through, fresh.seq, fresh.until),), at)

    def _silent(self, clear: Sequence[Heard]) -> Planned:
        target = self._reached.target
        keys = [collapse_key(target.device, one.of.conversation) for one in clear]
        push = Push(
            # The same until it was accepted; the same badge may be told again later.
            id=push_id(target.device, "silent", self._reached.success_at, self._badge, *keys),
            collapse=collapse_key(target.device, ""),
            urgency=Urgency.SILENT,
            ttl_s=LIMITS.push_oldest_ms // 1000,
            badge=self._badge,
            content=content.clear(keys) if keys and self._reached.has_keys else None,
        )
        told = tuple(Told(one.of.conversation, one.of.state.seq) for one in clear)
        return Planned(target, push, told)


def _newest_at(one: Heard) -> int:
    return one.fresh.at if one.fresh else 0
