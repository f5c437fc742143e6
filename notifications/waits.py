"""Tokens that a push was not accepted for, and when each may be tried again: a device that has another one does not wait. In
memory: what is forgotten is tried at once, and the number of attempts begins anew."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Final

from notifications.senders.interface import Result

FIRST_MS: Final = 2_000  # doubled with every attempt
LONGEST_MS: Final = 900_000
#: After so many, which take about an hour, the token is not tried any more until there is something newer.
ATTEMPTS: Final = 12
#: What a provider asks for is kept, up to so long.
LONGEST_ASKED_MS: Final = 3_600_000
#: Tokens; above, what was noted first is forgotten.
KNOWN: Final = 100_000


class Waits:
    def __init__(self, known: int = KNOWN) -> None:
        self._known = known
        self._tokens: OrderedDict[str, tuple[int, int]] = OrderedDict()  # attempts, until

    def until(self, token: str) -> int:
        """When it may be tried, ms since the epoch; 0: it does not wait."""
        return self._tokens.get(token, (0, 0))[1]

    def failed(self, token: str, now: int, result: Result) -> int | None:
        """Note an attempt at ``now``. Returns when to try again, None after the last one; then it is forgotten. What is
        not about the token (no answer, an error of the server's) has no last one: its time to live ends it."""
        attempts = self._tokens.pop(token, (0, 0))[0] + 1
        if attempts >= ATTEMPTS and 400 <= result.status < 500:
            return None
        wait = min(LONGEST_MS, FIRST_MS << min(attempts - 1, 16)) * random.uniform(0.5, 1.0)
        until = now + int(max(wait, min(result.retry_after_ms or 0, LONGEST_ASKED_MS)))
        self._tokens[token] = attempts, until
        if len(self._tokens) > self._known:
            self._tokens.popitem(last=False)
        return until

    def ended(self, token: str) -> None:
        self._tokens.pop(token, None)
