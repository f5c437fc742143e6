"""What a device is told at connect, and how long it is told again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from psycopg_pool import AsyncConnectionPool

from accounts.limits import DAY_MS
from accounts.models import Account, Device, DeviceKeys, IdentityNews, Prekey
from accounts.news import NOTHING, News
from accounts.opening import Answer, Opening, ask
from chats.news import Newsboy
from delivery.session import State
from delivery.store.libpq import Channel
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames

pytestmark = pytest.mark.django_db(transaction=True)


def with_pool(work: Callable[[AsyncConnectionPool], Awaitable[Any]]) -> Any:
    names = {"host", "port", "user", "password", "dbname"}
    given = {name: value for name, value in connection.get_connection_params().items() if name in names}

    async def run() -> Any:
        async with AsyncConnectionPool(kwargs=given, min_size=0, max_size=2, open=False, timeout=5) as pool:
            return await work(pool)

    return async_to_sync(run)()


async def answers(pool: AsyncConnectionPool, *openings: Opening) -> list[Answer]:
    channel = Channel(pool)
    try:
        return await ask(channel.rows, openings)
    finally:
        await channel.close()


def opening(device: Device, *, wants: bool = True) -> Opening:
    return Opening(str(device.user_id), str(device), 2_000_000_000_000, wants)


def of(*devices: Device) -> list[News]:
    found: list[Answer] = with_pool(lambda pool: answers(pool, *map(opening, devices)))
    return [answer.news for answer in found]


def new_device() -> Device:
    return Device.objects.create(user=Account.objects.create(), linked_at=1_000)


def changed(device: Device, at: int) -> str:
    """Somebody whose change the device's user is to learn of."""
    about = Account.objects.create()
    IdentityNews.objects.create(user=device.user, about=about, at=at)
    return str(about.pk)


def test_changes_since_the_device_was_linked_are_told_the_oldest_first() -> None:
    device, nobody = new_device(), new_device()
    changed(device, 999)
    second, first = changed(device, 3_000), changed(device, 2_000)
    assert of(nobody, device, new_device()) == [
        NOTHING,
        News(None, ((first, 2_000), (second, 3_000))),
        NOTHING,
    ]


def test_they_are_told_again_until_a_socket_has_lived_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "ping_ms", 20)
    device = new_device()
    user = changed(device, 2_000)
    sent: list[frames.Notice] = []
    session: Any = SimpleNamespace(device=str(device.pk), state=State.READY, send=sent.append)

    async def connect(pool: AsyncConnectionPool, *, lives: bool) -> None:
        session.state = State.READY
        (answer,) = await answers(pool, opening(device))
        Newsboy(pool).tell(session, answer.news)
        if not lives:
            session.state = State.CLOSED
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(4 * LIMITS.ping_ms / 1000, later.set_result, None)
        await later  # timers run in order: what was to be written down is by now asked for

        async def written() -> bool:
            return [answer.news for answer in await answers(pool, opening(device))] == [NOTHING]

        if lives:
            await until(written, "what was got is not told again")

    with_pool(lambda pool: connect(pool, lives=False))
    assert of(device) == [News(None, ((user, 2_000),))]
    with_pool(lambda pool: connect(pool, lives=True))
    assert [frame.data for frame in sent] == [{"userId": user, "at": 2_000}] * 2
    later = changed(device, 4_000)
    assert of(device) == [News(None, ((later, 4_000),))]


def test_sessions_are_judged_and_told_in_one_statement() -> None:
    device, banned, gone = new_device(), new_device(), new_device()
    user = changed(device, 2_000)
    Account.objects.filter(pk=banned.user_id).update(banned_until=2**52)
    Device.objects.filter(pk=gone.pk).update(unlinked_at=5_000)
    old = opening(device)._replace(issued_at=1)
    Device.objects.filter(pk=device.pk).update(session_from=2)
    stranger = Opening(new_id(), str(device), 2_000_000_000_000, True)  # somebody else's device
    nobody = Opening(new_id(), new_id(), 2_000_000_000_000, True)

    asked = (
        opening(device),
        opening(device, wants=False),
        opening(banned),
        opening(gone),
        old,
        stranger,
        nobody,
    )
    found = with_pool(lambda pool: answers(pool, *asked))

    told = News(None, ((user, 2_000),))
    assert [answer.verdict for answer in found] == [
        "ok",
        "ok",
        "banned",
        "unlinked",
        "revoked",
        "unlinked",
        "unlinked",
    ]
    assert [answer.news for answer in found] == [told, NOTHING, NOTHING, NOTHING, told, NOTHING, NOTHING]


def test_few_keys_are_told_with_their_numbers() -> None:
    device = new_device()
    row = DeviceKeys.objects.create(
        device=device, signed_id=1, signed_key=b"", signed_signature=b"", signed_at=1, low=True, updated_at=1
    )
    for kind, key_id, given_at in ((1, 1, None), (1, 2, 5), (2, 1, None), (2, 2, None)):
        Prekey.objects.create(device=device, kind=kind, key_id=key_id, digest=b"", given_at=given_at)
    assert of(device) == [News((1, 2), ())]
    row.low = False
    row.save()
    assert of(device) == [NOTHING]


def test_devices_that_came_and_went_are_told_to_those_who_were_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_ms()
    account = Account.objects.create()
    make = partial(Device.objects.create, user=account)
    phone = make(name="phone", linked_at=now - 50 * DAY_MS)
    make(name="before", linked_at=now - 40 * DAY_MS, unlinked_at=now - 35 * DAY_MS)
    laptop = make(name="laptop", linked_at=now - 3_000, linked_by=phone)
    gone = make(name="tablet", linked_at=now - 40 * DAY_MS, unlinked_at=now - 1_000, unlinked_for="idle")
    new_device()  # somebody else's
    told_phone = (
        (
            "device_linked",
            {"deviceId": str(laptop), "name": "laptop", "at": now - 3_000, "linkedBy": str(phone)},
        ),
        ("device_removed", {"deviceId": str(gone), "name": "tablet", "at": now - 1_000, "reason": "idle"}),
    )
    assert of(phone, laptop) == [News(None, (), told_phone), News(None, (), told_phone[1:])]
    assert of(phone)[0].through == now - 1_000
    Device.objects.filter(pk=phone.pk).update(news_at=now - 3_000)
    assert of(phone) == [News(None, (), told_phone[1:])]
    # What is cut off is told the next time.
    Device.objects.filter(pk=phone.pk).update(news_at=0)
    monkeypatch.setattr("accounts.news.MAX_DEVICES", 1)
    changed(phone, now - 500)
    assert of(phone)[0].through == now - 3_000
