"""What of a conversation one device is to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from delivery.store.values import Attention, Behind, Logged
from delivery.view import EVENT_KINDS
from notifications.quiet import quiet_until
from notifications.reached import Reached, State
from whatsapp.infra.limits import LIMITS

#: Events of a conversation that are looked at, the newest ones.
AT_MOST: Final = 100

_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Unheard(NamedTuple):
    """A conversation of which a device has something that it was not told, or shows something that may have gone."""

    reached: Reached
    behind: Behind
    state: State
    attention: Attention
    now: int

    @property
    def conversation(self) -> str:
        return self.behind.conversation

    @property
    def muted(self) -> bool:
        """Only mentions are heard."""
        return self.attention.archived or self.attention.muted_until > self.now

    @property
    def quiet(self) -> int:
        """When the quiet hours end that the device is in, ms; 0: it is in none."""
        return quiet_until(self.now, *self.reached.quiet)

    @property
    def start(self) -> int:
        """Up to there it has it, was told of it, or another device has read it."""
        return max(self.behind.acked, self.state.seq, self.attention.read)

    @property
    def shows(self) -> bool:
        """Whether the device shows a notification that it cannot know to be out of date by itself."""
        return self.state.shown > self.behind.acked

    @property
    def over(self) -> bool:
        """Whether what it shows was read elsewhere, or has vanished."""
        return self.shows and (self.attention.read >= self.state.shown or 0 < self.state.until <= self.now)

    @property
    def may_tell(self) -> bool:
        """Whether there may be something to tell: the events say it."""
        a = self.attention
        recent = not a.at or a.at >= self.now - LIMITS.push_oldest_ms
        return recent and self.behind.head > self.start and (not self.muted or a.mention > self.start)

    @property
    def may_have_gone(self) -> bool:
        """Whether what it shows may have been deleted: something came after it was told."""
        return self.shows and not self.over and self.behind.head > self.state.seq and self._shown_in_reach

    @property
    def _shown_in_reach(self) -> bool:
        return self.state.shown > self.behind.head - AT_MOST

    @property
    def after(self) -> int:
        """The events above decide."""
        after = max(self.start, self.behind.head - AT_MOST)
        if self.muted:
            after = min(after, max(self.start, self.attention.mention - 1))
        return min(after, self.state.shown - 1) if self.may_have_gone else after

    def gone(self, events: Sequence[Logged]) -> bool:
        """Whether what it shows is not among the events any more."""
        return self.may_have_gone and not any(
            event.seq == self.state.shown and _is_there(event, self.now) for event in events
        )

    def fresh(self, events: Sequence[Logged]) -> list[Logged]:
        """The messages that it is to be told of, in order: others' (reactions, edits and changes of the group are none), still
        there, not too old, not from a time when the conversation was muted, and where only mentions are heard, those."""
        user, a = self.reached.target.user, self.attention
        oldest = self.now - LIMITS.push_oldest_ms
        if a.muted_until <= self.now:
            oldest = max(oldest, a.muted_until)
        return [
            event
            for event in events
            if event.seq > self.start
            and event.kind not in EVENT_KINDS
            and event.sender != user
            and event.at >= oldest
            and _is_there(event, self.now)
            and (not self.muted or _mentions(event, user))
        ]


def _is_there(event: Logged, now: int) -> bool:
    return event.content is not None and not 0 < event.until <= now


def _mentions(event: Logged, user: str) -> bool:
    return bool(event.extra) and user in (_decode(event.extra).get("mentions") or ())  # type: ignore[arg-type]
