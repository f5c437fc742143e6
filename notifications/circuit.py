"""Whether an app's provider is asked at all: a circuit breaker, and the time for which the provider asked to be left alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from notifications.senders.interface import Outcome, Result
from whatsapp.infra.breaker import CLOSED, OPEN, Breaker, Policy

#: Five answers in a row that accept nothing open it; then one push is tried every five seconds.
POLICY: Final = Policy(failures=5, open_s=5.0)
#: A provider that asks for more is asked again after so long.
LONGEST_S: Final = 3600.0
#: While another push is the trial: look again after so long.
TRIAL_S: Final = 1.0


class Circuit:
    """Of one app. An app of Web Push has many providers: its sender leaves each of them alone by itself (ADR 0141)."""

    def __init__(
        self, name: str, policy: Policy = POLICY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._breaker = Breaker(name, "push", policy, clock)
        self._clock = clock
        self._left_alone_until = 0.0

    @property
    def state(self) -> int:
        """As :mod:`whatsapp.infra.breaker` counts them; open, too, while the provider is left alone by its own wish."""
        return OPEN if self._clock() < self._left_alone_until else self._breaker.state

    @property
    def wait_s(self) -> float:
        """Seconds until a push may be tried; 0 when one may now, if no other is the trial."""
        return max(self._breaker.opens_in_s, self._left_alone_until - self._clock(), 0.0)

    def begin(self) -> int | None:
        """Before a send: a number for its end. None: it must not be made; look again after :attr:`retry_s`."""
        if self._clock() < self._left_alone_until:
            return None
        return self._breaker.begin()

    @property
    def retry_s(self) -> float:
        """Seconds after which who was refused looks again."""
        return self.wait_s or TRIAL_S

    def ended(self, began: int, result: Result) -> None:
        if result.of_app and result.outcome in (Outcome.MISCONFIGURED, Outcome.LATER):
            self._breaker.failed(began)
            if result.retry_after_ms:
                until = self._clock() + min(result.retry_after_ms / 1000, LONGEST_S)
                self._left_alone_until = max(self._left_alone_until, until)
        else:
            self._breaker.succeeded(began)  # it answered, if only about this token

    def cancelled(self, began: int) -> None:
        """The send was given up without an answer."""
        self._breaker.cancelled(began)

    @property
    def closed(self) -> bool:
        return self.state == CLOSED
