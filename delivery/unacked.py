"""Connected devices that do not acknowledge: a phone that has lost its network keeps a socket that looks well for half a minute.

What is offered to a session is noted in the slot of the present second, the highest seq of each conversation. A slot is looked at
when it is :data:`LIMITS.push_unacked_ms` old: what the session has not acknowledged by then is reported. So nothing is looked at
but what was offered, once, and an acknowledgement costs nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

from delivery.session import Session
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

#: Noted in a slot; what comes above is found by the sweep of those who send.
MAX_NOTED = 100_000


class Unacked:
    """``report([(user, device)], wait_ms)`` is called on the loop."""

    def __init__(self, report: Callable[[Sequence[tuple[str, str]], int], None]) -> None:
        self._report = report
        self._slot: dict[tuple[Session, str], int] = {}
        self._older: deque[dict[tuple[Session, str], int]] = deque()
        self.tick_s = min(1.0, LIMITS.push_unacked_ms / 1000)
        self._slots = math.ceil(LIMITS.push_unacked_ms / 1000 / self.tick_s)

    def offered(self, session: Session, conversation: str, seq: int) -> None:
        """The session was told, or will be, that there is something up to ``seq``."""
        key = session, conversation
        if self._slot.get(key, 0) < seq and (len(self._slot) < MAX_NOTED or key in self._slot):
            self._slot[key] = seq

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self.tick_s)
            try:
                self.turn()
            except Exception:
                log.exception("devices that do not acknowledge were not reported")

    def turn(self) -> None:
        """A slot is full."""
        self._older.append(self._slot)
        self._slot = {}
        if len(self._older) <= self._slots:
            return
        self._look((self._older.popleft(),), 0)

    def end(self) -> None:
        """The process is about to end: its sessions have as long to be opened elsewhere as they had to acknowledge."""
        self._look((*self._older, self._slot), LIMITS.push_unacked_ms)
        self._older.clear()
        self._slot = {}

    def _look(self, slots: Sequence[dict[tuple[Session, str], int]], wait_ms: int) -> None:
        silent = {
            (session.user, session.device): None
            for slot in slots
            for (session, conversation), seq in slot.items()
            if session.acked.get(conversation, 0) < seq
        }
        if silent:
            self._report(list(silent), wait_ms)
