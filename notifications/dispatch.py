"""The last step of a push notification: it is handed to its provider, and what came of it is written down.

What was accepted is durable before :meth:`Dispatch.deliver` returns, so that its user may be taken from those who are due. Who
dies before that sends again with the same id and collapse key: shown once (ADR 0144).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from notifications import figures
from notifications.health import Reporter
from notifications.lane import LEFT_ALONE, NO_TURN, SEND_S, Lane
from notifications.outcomes import Answer, Outcomes, Unwritten
from notifications.plans import Ended, Planned, Told
from notifications.senders.interface import Outcome, Push, PushApp, Result, Sender, Target, Urgency
from notifications.senders.registry import open_senders
from notifications.waits import Waits
from whatsapp.infra import clock, faults
from whatsapp.infra.hot import Hot

log = logging.getLogger(__name__)

#: When PostgreSQL did not take what was accepted: look again after so long, ms.
UNWRITTEN_MS: Final = 5_000
#: Who waits for an app looks again after at least so long, ms.
LEAST_WAIT_MS: Final = 1_000
TEST_TTL_S: Final = 300
#: Instead of when to look again: the device is not reached any more.
_DEAD: Final = 0
_ORDER: Final = {Urgency.CALL: 0, Urgency.MESSAGE: 1, Urgency.SILENT: 2}


class Dispatch:
    """Of one event loop. ``senders``: by the name of the app, as :func:`notifications.senders.registry.open_senders` opens them;
    closed by :meth:`close`. With ``hot`` it also says how its apps are (:mod:`notifications.health`)."""

    def __init__(
        self, pool: AsyncConnectionPool, senders: Mapping[str, Sender], hot: Hot | None = None
    ) -> None:
        self._outcomes = Outcomes(pool)
        self._waits = Waits()
        self.lanes = {
            name: Lane(settings.PUSH_APPS.get(name) or PushApp(name, sender.provider, {}), sender)
            for name, sender in senders.items()
        }
        self._reporter = None if hot is None else Reporter(hot, self.lanes)

    async def deliver(
        self, planned: Sequence[Planned], ended: Ended = lambda user, again: None
    ) -> dict[str, int]:
        """Send what was planned; a device's notifications one after the other, the devices at once. May be called again while
        a call is under way, for other users. ``ended`` hears of each user as soon as all devices of theirs are done.

        Returns user → when to look again, ms since the epoch, for those to whom something could not be handed over. All others
        were told, or never will be, and that is durable.
        """
        users: dict[str, dict[str, list[Planned]]] = {}
        for one in planned:
            users.setdefault(one.target.user, {}).setdefault(one.target.device, []).append(one)
        again: dict[str, int] = {}

        async def tell(user: str, devices: list[list[Planned]]) -> None:
            at = await self._user(devices)
            if at is not None:
                again[user] = at
            ended(user, at)

        await asyncio.gather(*(tell(user, list(devices.values())) for user, devices in users.items()))
        if self._reporter is not None:
            self._reporter.due()
        return again

    async def close(self) -> None:
        if self._reporter is not None:
            self._reporter.stop()
        await asyncio.gather(*(lane.sender.close() for lane in self.lanes.values()), return_exceptions=True)

    async def _user(self, devices: list[list[Planned]]) -> int | None:
        """When to look again, if something is left to be sent."""
        if len(devices) == 1:
            return await self._device(devices[0])
        ends = await asyncio.gather(*map(self._device, devices))
        return min((at for at in ends if at is not None), default=None)

    async def _device(self, planned: list[Planned]) -> int | None:
        """When to look again, if something is left to be sent."""
        for one in sorted(planned, key=lambda one: _ORDER[one.push.urgency]):
            again = await self._one(one)
            if again is not None:
                return again or None
        return None

    async def _one(self, one: Planned) -> int | None:
        """None: on with the device's next one. :data:`_DEAD`, or when to look again: nothing more is sent to it now."""
        target, push = one.target, one.push
        lane = self.lanes.get(target.app)
        if lane is None:
            return self._left(one, "no_app", _DEAD)
        until = self._waits.until(target.token)
        if until > clock.now_ms() and push.urgency is not Urgency.CALL:
            return self._left(one, "device_waits", until)
        if lane.wait_ms:
            return self._left(one, LEFT_ALONE, _when(lane.wait_ms))
        if faults.off("push_after"):
            await self._outcomes.write(_answer(one, told=one.told))
        faults.point("push-send")
        result = await lane.send(target, push, None if one.at is None else one.at + push.ttl_s * 1000)
        try:
            if result is None:
                self._count(one, "dropped", "expired")
                await self._outcomes.write(_answer(one, told=one.told))
                return None
            if result.reason == LEFT_ALONE:
                return self._left(one, LEFT_ALONE, _when(result.retry_after_ms or 0))
            if result.reason == NO_TURN:
                return self._left(one, NO_TURN, clock.now_ms())
            self._count(one, result.outcome.value, result.reason)
            return await self._ended(one, lane, result)
        except Unwritten as error:
            log.warning("what became of a notification is not written: %s", error)
            return self._left(one, "unwritten", clock.now_ms() + UNWRITTEN_MS)

    async def _ended(self, one: Planned, lane: Lane, result: Result) -> int | None:
        token = one.target.token
        match result.outcome:
            case Outcome.ACCEPTED:
                faults.point("push-accepted")
                self._waits.ended(token)
                if one.at is not None:
                    series = figures.SECONDS.series(lane.provider, one.push.urgency.value)
                    series.observe(max(0, clock.now_ms() - one.at) / 1000)
                await self._outcomes.write(_answer(one, accepted=True, told=one.told, badge=one.push.badge))
                return None
            case Outcome.GONE:
                self._waits.ended(token)
                await self._outcomes.write(_answer(one, gone=True))
                return _DEAD
            case Outcome.REFUSED:
                # It will never be accepted: the device counts as told, or it would be tried for ever.
                await self._outcomes.write(_answer(one, told=one.told, error=result.reason))
                return None
        if result.of_app:
            if result.outcome is Outcome.MISCONFIGURED:  # few: the circuit opens
                await self._outcomes.write(_answer(one, error=result.reason))
            return _when(max(lane.wait_ms, result.retry_after_ms or 0))
        again = self._waits.failed(token, clock.now_ms(), result)
        if again is None:
            self._count(one, "dropped", "attempts")
        await self._outcomes.write(_answer(one, told=one.told if again is None else (), error=result.reason))
        return again

    def _left(self, one: Planned, reason: str, again: int) -> int:
        self._count(one, "left", reason)
        return again

    def _count(self, one: Planned, outcome: str, reason: str) -> None:
        lane = self.lanes.get(one.target.app)
        figures.SENDS.add(
            lane.app if lane else "none",
            lane.provider if lane else "none",
            one.push.urgency.value,
            outcome,
            reason,
        )


def _when(wait_ms: int) -> int:
    """When who waits for an app looks again, ms since the epoch: not all of them at once."""
    return clock.now_ms() + int(max(wait_ms, LEAST_WAIT_MS) * random.uniform(1.0, 1.5))


def _answer(
    one: Planned,
    *,
    accepted: bool = False,
    told: tuple[Told, ...] = (),
    badge: int | None = None,
    error: str | None = None,
    gone: bool = False,
) -> Answer:
    token_hash = hashlib.sha256(one.target.token.encode()).digest()
    return Answer(one.target.device, token_hash, clock.now_ms(), accepted, told, badge, error, gone)


async def send_test(target: Target) -> Result:
    """A notification without content, on a connection of its own: staff want to know whether this device is reached. Circuits,
    limits of rate and what is written of a device are passed by. ``MISCONFIGURED`` with the reason ``no_app`` when the app is
    not configured (any more)."""
    app = settings.PUSH_APPS.get(target.app)
    if app is None:
        return Result(Outcome.MISCONFIGURED, "no_app", of_app=True)
    sender = open_senders({app.name: app})[app.name]
    push = Push(id=str(uuid.uuid4()), collapse="test", urgency=Urgency.MESSAGE, ttl_s=TEST_TTL_S, badge=None)
    try:
        async with asyncio.timeout(SEND_S):
            return await sender.send(target, push)
    except TimeoutError:
        return Result(Outcome.LATER, "timeout", of_app=True)
    finally:
        await sender.close()
