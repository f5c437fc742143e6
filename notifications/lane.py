"""The way of one app to its provider: who sends next, whether the provider is asked at all, and how it has been."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from notifications import figures
from notifications.circuit import Circuit
from notifications.senders.interface import Outcome, Push, PushApp, Result, Sender, Target
from notifications.turns import NoTurn, Turns
from whatsapp.infra import clock

log = logging.getLogger(__name__)

#: Senders bound their own waits; one that does not answer for so long is given up.
SEND_S: Final = 60.0
#: What has waited so long for its turn is planned anew: it may have been read meanwhile.
TURN_S: Final = 10.0
#: Why nothing was sent: the circuit is open; too many came before.
LEFT_ALONE: Final = "left_alone"
NO_TURN: Final = "no_turn"


class Lane:
    def __init__(self, app: PushApp, sender: Sender, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.app, self.provider = app.name, sender.provider
        self.sender = sender
        self._clock = monotonic
        self._turns = Turns(app.concurrency, app.rate, monotonic)
        self._circuit = Circuit(app.name, clock=monotonic)
        #: Milliseconds since the epoch, of this process.
        self.success_at: int | None = None
        self.error_at: int | None = None
        self.error = ""
        self.accepted = self.failed = 0
        figures.lanes.add(self)

    @property
    def under_way(self) -> int:
        return self._turns.under_way

    @property
    def waiting(self) -> int:
        return self._turns.waiting

    @property
    def state(self) -> int:
        """The circuit's, as :mod:`whatsapp.infra.breaker` counts them."""
        return self._circuit.state

    @property
    def wait_ms(self) -> int:
        """Milliseconds for which the provider is left alone; 0: it may be asked."""
        return int(self._circuit.wait_s * 1000)

    async def send(self, target: Target, push: Push, expires_at: int | None) -> Result | None:
        """Send in turn. None: its time had passed (``expires_at``, ms since the epoch) before its turn came. ``LATER`` with
        the reason :data:`LEFT_ALONE` or :data:`NO_TURN`: the provider was not asked."""
        try:
            return await self._send(target, push, expires_at)
        except NoTurn:
            return Result(Outcome.LATER, NO_TURN)

    async def _send(self, target: Target, push: Push, expires_at: int | None) -> Result | None:
        circuit = self._circuit
        async with self._turns.turn(push.urgency, TURN_S):
            if expires_at is not None and clock.now_ms() > expires_at:
                return None
            began = circuit.begin()
            if began is None:
                return Result(Outcome.LATER, LEFT_ALONE, 0, int(circuit.retry_s * 1000), of_app=True)
            started = self._clock()
            try:
                result = await self._ask(target, push)
            except BaseException:
                circuit.cancelled(began)
                raise
            circuit.ended(began, result)
        figures.ANSWER_SECONDS.series(self.app).observe(self._clock() - started)
        self._note(result)
        return result

    async def _ask(self, target: Target, push: Push) -> Result:
        try:
            async with asyncio.timeout(SEND_S):
                return await self.sender.send(target, push)
        except TimeoutError:
            # A push service of browsers says nothing about the app (ADR 0141).
            return Result(Outcome.LATER, "timeout", of_app=self.provider != "webpush")
        except Exception:
            log.exception("the sender of the app %s failed", self.app)
            return Result(Outcome.LATER, "error")

    def _note(self, result: Result) -> None:
        now = clock.now_ms()
        if result.outcome is Outcome.ACCEPTED:
            self.success_at = now
            self.accepted += 1
        else:
            self.error_at, self.error = now, result.reason
            self.failed += 1
