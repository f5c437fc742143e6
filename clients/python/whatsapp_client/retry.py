"""When to connect again: the table of close codes, and the delays with their jitter."""

from __future__ import annotations

import enum
import random


class Retry(enum.Enum):
    """What a close code asks of the client."""

    SOON = "soon"  # at once, with jitter; repeated failures back off
    SLOT = "slot"  # in the slot of the `reconnect` frame that came before
    REFRESH = "refresh"  # with a new access token
    LATER = "later"  # we did something wrong or too much: never at once
    NEVER = "never"  # this session is over


_TABLE: dict[int, Retry] = {
    1012: Retry.SLOT,
    1013: Retry.SLOT,
    4400: Retry.LATER,
    4401: Retry.REFRESH,
    4403: Retry.NEVER,
    4409: Retry.NEVER,
    4410: Retry.NEVER,
    4426: Retry.NEVER,
    4429: Retry.LATER,
    1009: Retry.LATER,
}

REASONS: dict[int, str] = {
    4401: "the session was revoked or has expired; register this number again",
    4403: "this account is banned",
    4409: "this device has connected elsewhere with the same session",
    4410: "this device was unlinked or the account was deleted",
    4426: "this client is too old for the server",
}


def after_close(code: int) -> Retry:
    """What to do after a socket ended with ``code``; codes that nobody defined are treated like a lost
    connection."""
    return _TABLE.get(code, Retry.SOON)


class Backoff:
    """Delays of repeated attempts in seconds: full jitter under a doubling ceiling, never giving up.

    Full jitter (any time between 0 and the ceiling) spreads the clients of a dead gateway best; the ceiling
    starts low, so that one lost gateway costs a chat a fraction of a second.
    """

    def __init__(
        self, *, first: float = 0.25, ceiling: float = 30.0, rng: random.Random | None = None
    ) -> None:
        self._first = first
        self._ceiling = ceiling
        self._rng = rng or random.Random()
        self.failures = 0

    def fresh(self) -> Backoff:
        """Another one of the same pace, without failures."""
        return Backoff(first=self._first, ceiling=self._ceiling, rng=self._rng)

    def next(self, *, at_least: float = 0.0) -> float:
        """The next delay; counts a failure."""
        limit = min(self._ceiling, self._first * 2 ** min(self.failures, 16))
        self.failures += 1
        return at_least + self._rng.uniform(0.0, limit)

    def slot(self, seconds: float) -> float:
        """The delay until a slot that the server gave, which spreads its clients itself: a little more than it, however often it
        was given. A server that gives none to speak of gets the delays of :meth:`next`."""
        if seconds < self._first:
            return self.next(at_least=seconds)
        return seconds + self._rng.uniform(0.0, self._first)

    def reset(self) -> None:
        """A connection was good: the next failure is a first one again."""
        self.failures = 0
