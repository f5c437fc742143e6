"""A circuit breaker for coroutines: what fails again and again is left alone for a while, so that callers hear at once what
they would hear after a time-out, and a server that comes back is not met by everybody at the same moment.

*Closed*: calls go through; :attr:`Policy.failures` in a row open it. *Open*: calls are refused. *Half open*, after
:attr:`Policy.open_s`: one call goes through as a trial, the others are still refused; it closes or opens again by its end.
(M. Nygard, Release It!, chapter "Stability Patterns".)

Many calls are under way at once, so a call counts only for the state in which it began: what was sent before it opened
neither closes it, when a late answer comes, nor keeps it open. A call that is cancelled says nothing; a cancelled trial makes
room for the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from whatsapp.infra import metrics

#: States, as the metric shows them.
CLOSED, HALF_OPEN, OPEN = 0, 1, 2

_NAMES = ("node", "operation")
OPENED = metrics.Counters(
    "whatsapp_breaker_opened", "How often a circuit breaker opened, by node and operation.", _NAMES
)
REFUSED = metrics.Counters(
    "whatsapp_breaker_refused", "Calls that an open circuit breaker refused, by node and operation.", _NAMES
)


@dataclass(frozen=True)
class Policy:
    failures: int = 5  # in a row; 0: never opens
    open_s: float = 5.0  # until a trial


class Breaker:
    """One operation of one node. Not for several threads: each loop has its own.

    ``began = breaker.begin()`` before the call: a number to give back with its end, None if the call must not be made.
    """

    __slots__ = ("_clock", "_failed", "_generation", "_labels", "_opened_at", "_policy", "_trial")

    def __init__(
        self, node: str, operation: str, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._labels = node, operation
        self._policy = policy
        self._clock = clock
        self._failed = 0  # in a row
        self._opened_at: float | None = None
        self._trial = False
        self._generation = 0  # one more with every change of state

    @property
    def state(self) -> int:
        if self._opened_at is None:
            return CLOSED
        return HALF_OPEN if self._clock() - self._opened_at >= self._policy.open_s else OPEN

    @property
    def opens_in_s(self) -> float:
        """Seconds until a call may be tried; 0 when one may now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._policy.open_s - self._clock())

    def begin(self) -> int | None:
        if self._opened_at is not None:
            if self._trial or self.state == OPEN:
                REFUSED.add(*self._labels)
                return None
            self._trial = True
            self._generation += 1
        return self._generation

    def succeeded(self, began: int) -> None:
        if began != self._generation:
            return
        self._failed = 0
        if self._opened_at is not None:
            self._opened_at, self._trial = None, False
            self._generation += 1

    def failed(self, began: int) -> None:
        if began != self._generation:
            return
        self._failed += 1
        if self._trial or 0 < self._policy.failures <= self._failed:
            self._opened_at, self._trial = self._clock(), False
            self._generation += 1
            OPENED.add(*self._labels)

    def cancelled(self, began: int) -> None:
        """The call ended without saying anything about the node."""
        if began == self._generation:
            self._trial = False
