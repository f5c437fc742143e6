"""How fast to send, so that the server's limits are rarely met."""

from __future__ import annotations


class Pace:
    """At most ``count`` in ``period`` seconds, up to ``burst`` of them at once after a pause (GCRA, as the
    server counts)."""

    def __init__(self, count: float, period: float, *, burst: float) -> None:
        self._interval = period / count
        self._tolerance = self._interval * max(0.0, burst - 1)
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Seconds until one more may go; 0: now."""
        return max(0.0, self._next - self._tolerance - now)

    def take(self, now: float) -> None:
        self._next = max(self._next, now) + self._interval
