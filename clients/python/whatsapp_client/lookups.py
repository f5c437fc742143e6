"""Questions that the log does not answer: what a group is called that this user was added to, and who is in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from .errors import DatabaseBroken, RestError, Unreachable

#: A group's second event says what it is called; it follows the first at once.
GRACE = 0.3
FIRST, CEILING = 2.0, 300.0
#: What the server does not tell is not asked for again so soon.
REFUSED = 60.0


class Lookups:
    """Asks once for each wish, one after the other, and again later when the server could not answer.

    ``ask`` does the asking for a conversation; False when that was not needed any more. ``asked`` counts.
    """

    def __init__(self, ask: Callable[[str], Awaitable[bool]]) -> None:
        self._ask = ask
        self._wanted: dict[str, None] = {}
        self._refused: dict[str, float] = {}
        self._wake = asyncio.Event()
        self.asked = 0

    def want(self, conversation_id: str) -> None:
        if time.monotonic() >= self._refused.get(conversation_id, 0.0):
            self._wanted[conversation_id] = None
            self._wake.set()

    async def run(self, online: asyncio.Event) -> None:
        """Until it is cancelled."""
        delay = FIRST
        while True:
            await self._wake.wait()
            await online.wait()
            await asyncio.sleep(GRACE)
            self._wake.clear()
            for conversation_id in list(self._wanted):
                try:
                    self.asked += await self._ask(conversation_id)
                except Unreachable:
                    break
                except RestError as error:
                    if error.status == 429 or error.status >= 500:
                        delay = max(delay, error.retry_after or 0.0)
                        break
                    self._refused[conversation_id] = time.monotonic() + REFUSED
                except DatabaseBroken:
                    return
                except (ValueError, TypeError, LookupError, AttributeError):  # an answer that makes no sense
                    self._refused[conversation_id] = time.monotonic() + REFUSED
                self._wanted.pop(conversation_id, None)
            else:
                delay = FIRST
                continue
            await asyncio.sleep(delay)
            delay = min(2 * delay, CEILING)
            self._wake.set()
