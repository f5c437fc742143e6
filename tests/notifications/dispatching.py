"""Devices with targets in PostgreSQL, and a sender that records and answers what a test says."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from django.db import connection

from accounts.models import Account, Device
from notifications.dispatch import Dispatch
from notifications.models import PushState, PushTarget
from notifications.plans import Planned, Told
from notifications.senders.interface import Outcome, Push, Result, Target, Urgency
from tests.accounts.conftest import new_number
from whatsapp.infra.clock import now_ms
from whatsapp.infra.postgres import open_pool

ACCEPTED = Result(Outcome.ACCEPTED, "", 200)
GONE = Result(Outcome.GONE, "Unregistered", 410)
REFUSED = Result(Outcome.REFUSED, "PayloadTooLarge", 413)
LATER = Result(Outcome.LATER, "TooManyRequests", 429)
DOWN = Result(Outcome.LATER, "ServiceUnavailable", 503, of_app=True)
WRONG = Result(Outcome.MISCONFIGURED, "InvalidProviderToken", 403, of_app=True)


class Recorder:
    """A sender. ``answers``: by the device's token; all others are accepted. ``gate``: sends end when it is set."""

    provider = "apns"

    def __init__(self, answers: dict[str, Result] | None = None) -> None:
        self.answers = answers or {}
        self.begun: list[Push] = []
        self.sent: list[tuple[str, Push]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.meanwhile: Callable[[Target], Any] | None = None
        self.closed = False

    async def send(self, target: Target, push: Push) -> Result:
        self.begun.append(push)
        await self.gate.wait()
        if self.meanwhile is not None:
            await asyncio.to_thread(self.meanwhile, target)
        self.sent.append((target.token, push))
        return self.answers.get(target.token, ACCEPTED)

    async def close(self) -> None:
        self.closed = True


def target(app: str = "ios") -> Target:
    """A device of its own, with a row."""
    device = Device.objects.create(user=Account.objects.create(phone=new_number()), primary=True)
    token = uuid.uuid4().hex
    PushTarget.objects.create(
        device=device, app=app, token=token, token_hash=digest(token), set_at=now_ms(), badge=7
    )
    return Target(str(device.user_id), str(device.id), app, token)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def push(urgency: Urgency = Urgency.MESSAGE, *, badge: int | None = 3, ttl_s: int = 3600) -> Push:
    return Push(str(uuid.uuid4()), uuid.uuid4().hex, urgency, ttl_s, badge)


def plan(
    target: Target,
    *told: Told,
    urgency: Urgency = Urgency.MESSAGE,
    badge: int | None = 3,
    at: int | None = None,
    ttl_s: int = 3600,
) -> Planned:
    return Planned(target, push(urgency, badge=badge, ttl_s=ttl_s), told, at)


def said(seq: int = 5) -> Told:
    return Told(str(uuid.uuid4()), seq, shown=seq, until=99)


def row(target: Target) -> PushTarget | None:
    return PushTarget.objects.filter(device_id=target.device).first()


def states(target: Target) -> dict[str, tuple[int, int, int]]:
    found = PushState.objects.filter(target_id=target.device)
    return {str(state.conversation): (state.seq, state.shown, state.until) for state in found}


def url() -> str:
    return "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)


@asynccontextmanager
async def dispatching(
    *senders: Recorder, around: Callable[[Any], Any] = lambda pool: pool, **named: Any
) -> AsyncIterator[Dispatch]:
    """A dispatch of the app ``ios`` (or of those named) on a pool of its own. ``around``: what stands before the pool."""
    apps = {"ios": senders[0]} if senders else {}
    async with open_pool(url()) as pool:
        dispatch = Dispatch(around(pool), {**apps, **named})
        try:
            yield dispatch
        finally:
            await dispatch.close()


def deliver(sender: Recorder, planned: Sequence[Planned], **options: Any) -> dict[str, int]:
    """One ``deliver`` of a fresh dispatch."""

    async def run() -> dict[str, int]:
        async with dispatching(sender, **options) as dispatch:
            return await dispatch.deliver(planned)

    return asyncio.run(run())
