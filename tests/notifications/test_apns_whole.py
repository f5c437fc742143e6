"""From a message in the store to the screen of a device, through policy and dispatch, with APNs at the end."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devtools.push_servers.apns import Told
from notifications.dispatch import Dispatch
from notifications.keys import collapse_key
from tests.contract.harness import PostgresHarness
from tests.contract.people import T0
from tests.notifications.apns_app import App, opened, push, target
from tests.notifications.world import Phone, World, world_of

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
AUTH = bytes(range(16))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as app:
        yield app


@pytest.fixture
async def world(
    app: App, postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> AsyncIterator[World]:
    harness = PostgresHarness(postgres_url)
    with django_db_blocker.unblock():
        async with harness, world_of(harness.store, postgres_url, valkey_url, monkeypatch) as world:
            world.dispatch = Dispatch(world.pool, {"app": app.sender})
            yield world


@pytest.fixture
async def phone(world: World) -> Phone:
    """Of whom is told, with a token of APNs."""
    phone = await world.person(p256dh=PUBLIC, auth=AUTH)
    phone.token = os.urandom(32).hex()
    await world.sql(
        "UPDATE notifications_pushtarget SET token = %s, token_hash = %s, set_at = %s WHERE device_id = %s",
        phone.token, hashlib.sha256(phone.token.encode()).digest(), T0, phone.id,
    )  # fmt: skip
    return phone


@pytest.fixture
async def other(world: World) -> str:
    return await world.account()


@pytest.fixture
async def talk(world: World, phone: Phone, other: str) -> str:
    talk = await world.direct(other, phone.user)
    await world.say(talk, other, body=b"meet me at nine")
    return talk


async def _sent(world: World, phone: Phone) -> dict[str, int]:
    """As a worker that finds the user due; when to look again, by user."""
    plan = await world.plan(phone.user)
    return await world.dispatch.deliver(plan.pushes)


async def _is_reached(world: World, phone: Phone) -> bool:
    rows = await world.sql("SELECT 1 FROM notifications_pushtarget WHERE device_id = %s", phone.id)
    return bool(rows)


async def test_a_message_stands_on_the_screen_and_only_the_device_can_read_it(
    world: World, app: App, phone: Phone, talk: str
) -> None:
    assert await _sent(world, phone) == {}
    ((key, shown),) = app.apns.shown.items()
    assert key == (phone.token, collapse_key(phone.id, talk))
    assert shown.payload["aps"]["badge"] == 1
    sealed = base64.urlsafe_b64decode(shown.payload["sealed"] + "==")
    said = json.loads(http_ece.decrypt(sealed, private_key=KEY, auth_secret=AUTH))
    assert said["conversationId"] == talk
    for told in (talk, phone.user, phone.id, said["senderId"], said["messageId"], "meet me"):
        assert told not in json.dumps(shown.payload)
    assert await _sent(world, phone) == {}
    assert app.apns.received == 1, "it was told already"


async def test_a_dead_token_is_removed_at_once(world: World, app: App, phone: Phone, talk: str) -> None:
    app.apns.answers = [Told(410, "Unregistered", timestamp=T0 + 1)]
    assert await _sent(world, phone) == {}
    assert not await _is_reached(world, phone)
    assert await _sent(world, phone) == {}
    assert app.apns.received == 1


async def test_a_token_that_the_device_gave_again_since_stays(
    world: World, app: App, phone: Phone, talk: str
) -> None:
    app.apns.answers = [Told(410, "Unregistered", timestamp=T0 - 1)]
    again = await _sent(world, phone)
    assert await _is_reached(world, phone)
    assert set(again) == {phone.user}
    world.now = again[phone.user]
    assert await _sent(world, phone) == {}
    assert len(app.apns.shown) == 1


async def test_an_app_in_the_wrong_environment_costs_nobody_their_token(
    world: World, app: App, phone: Phone, other: str, talk: str
) -> None:
    app.apns.tokens = set()  # those of the other environment
    assert await _sent(world, phone) == {}
    assert await _is_reached(world, phone)
    known = target()
    app.apns.tokens = {known.token}
    await app.sender.send(known, push())  # now the environment is known to be right
    await world.say(talk, other)
    assert await _sent(world, phone) == {}
    assert not await _is_reached(world, phone)


async def test_what_was_accepted_and_not_answered_is_repeated_and_stands_there_once(
    world: World, app: App, phone: Phone, talk: str
) -> None:
    app.apns.hold = lambda request: request.connection.transport.abort()
    again = await _sent(world, phone)
    assert set(again) == {phone.user}
    (first,) = app.apns.shown.values()
    app.apns.hold = None
    world.now = again[phone.user]
    assert await _sent(world, phone) == {}
    (second,) = app.apns.shown.values()
    assert app.apns.accepted == 2
    assert first.id == second.id
