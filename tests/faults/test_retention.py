"""C4: after 30 days "expired" is the recorded end of what a device has not fetched, and a sync closes the hole."""

from __future__ import annotations

import re
from typing import Any

import pytest
from celery import Celery
from django.conf import settings

from tests.faults.rig import Cast, Rig, meeting
from tests.gateway.peer import Peer, events_of, texts
from tests.gateway.phone import Phone, rest
from tests.support.patience import until

pytestmark = pytest.mark.needs_system

DAY_MS = 86_400_000


async def expire(rig: Rig) -> None:
    """Beat's task, run once by the worker."""
    with Celery(broker=rig.system.env["BROKER_URL"]) as app:
        app.send_task("delivery.tasks.expire", queue="maintenance", retry=False)


async def has_expired(log: Any, cast: Cast, floor: int) -> bool:
    return bool(await log.floor(cast.conversation) == floor)


async def verified_again(rig: Rig, phone: Phone) -> Phone:
    """The same device with tokens of the moved time."""
    sms = rig.system.data / "sms.jsonl"
    size = sms.stat().st_size
    await rest(rig.system.http, "POST", "/auth/register", {"phoneNumber": phone.number})
    code = re.findall(r"\b\d{6}\b", (await until(lambda: sms.read_text()[size:], "the code")))[-1]
    body = {"phoneNumber": phone.number, "code": code, "refreshToken": phone.refresh_token}
    answer = await rest(rig.system.http, "POST", "/auth/verify", {**body, "deviceName": "laptop"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["deviceId"] == phone.device
    phone.token = answer.json()["token"]
    return phone


async def test_c4_expired_is_recorded_and_the_hole_is_closed(rig: Rig) -> None:
    schedule = settings.CELERY_BEAT_SCHEDULE["delivery-expire"]
    assert schedule["task"] == "delivery.tasks.expire"
    async with meeting(rig) as cast, rig.system.stored() as log:
        await cast.say(5)  # seqs 4 to 8: the laptop has not got them
        await until(lambda: cast.marks(rig, cast.laptop), "the laptop is marked")
        rig.move_clock(29 * DAY_MS)
        await expire(rig)
        await cast.say()  # seq 9, young
        await cast.all_here(cast.phone)
        assert await has_expired(log, cast, 0), "nothing is 30 days old yet"

        async def phone() -> bool:
            return bool(await log.position(cast.phone.id, cast.conversation) == (9, 0))

        await until(phone, "the phone's acks are written")

        rig.move_clock(31 * DAY_MS)
        await expire(rig)
        await until(lambda: has_expired(log, cast, 8), "the old messages have expired")

        async def only_the_last() -> bool:  # its rows go after its floor has risen
            return [one.seq for one in await log.events(cast.conversation)] == [9]

        await until(only_the_last, "their rows are gone")
        assert await log.position(cast.laptop.id, cast.conversation) == (8, 8)
        assert await phone(), "the phone had acknowledged all of it"

        laptop = await verified_again(rig, cast.laptop.phone)
        async with await Peer.open(rig.two, laptop, sync=False) as peer:
            batches = await peer.sync({cast.conversation: 3})
            assert texts(events_of(batches)) == ["message 9"]
            assert batches[-1].through >= 9, "the hole is closed"
            await cast.say()
            (live,) = await peer.messages(1)
            assert live.seq == 10


async def test_c4_hole_of_a_log_that_has_expired_to_its_end(rig: Rig) -> None:
    async with meeting(rig) as cast, rig.system.stored() as log:
        # On Cassandra a day that has expired is over: what is said on it afterwards, because a test's clock went back, is in no
        # list of that day. So it is said on another.
        rig.move_clock(2 * DAY_MS)
        await cast.say(5)
        await until(lambda: cast.marks(rig, cast.laptop), "the laptop is marked")
        rig.move_clock(33 * DAY_MS)
        await expire(rig)
        await until(lambda: has_expired(log, cast, 8), "everything has expired")
        laptop = await verified_again(rig, cast.laptop.phone)
        async with await Peer.open(rig.two, laptop, sync=False) as peer:
            (batch,) = await peer.sync({cast.conversation: 3})
            assert (batch.events, batch.through, batch.head) == ([], 8, 8)
            await cast.say()
            (live,) = await peer.messages(1)
            assert live.seq == 9
