"""From a plan to what a device shows and what PostgreSQL knows, through the sender of APNs and a provider that checks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devtools.push_servers.apns import Told as Answer
from notifications.dispatch import Dispatch
from notifications.models import PushTarget
from notifications.senders.interface import Target
from tests.notifications.apns_app import App, opened
from tests.notifications.dispatching import digest, plan, row, said, states, target, url
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.postgres import open_pool

pytestmark = pytest.mark.django_db(transaction=True)


def device() -> Target:
    """With a token as APNs gives them."""
    made = target()
    token = os.urandom(32).hex()
    PushTarget.objects.filter(device_id=made.device).update(token=token, token_hash=digest(token))
    return made._replace(token=token, set_at=clock.now_ms())


def run(folder: Path, what: Callable[[App, Dispatch], Awaitable[None]]) -> None:
    async def with_both() -> None:
        async with opened(folder) as app, open_pool(url()) as pool:
            await what(app, Dispatch(pool, {"ios": app.sender}))

    asyncio.run(with_both())


def test_what_is_planned_is_shown_and_written(tmp_path: Path) -> None:
    ann, bob = device(), device()
    told = said()

    async def deliver(app: App, dispatch: Dispatch) -> None:
        planned = [plan(ann, told, badge=4), plan(bob, told)]
        assert await dispatch.deliver(planned) == {}
        assert {shown.id for shown in app.apns.shown.values()} == {one.push.id for one in planned}

    run(tmp_path, deliver)
    assert states(ann) == states(bob) == {told.conversation: (told.seq, told.shown, told.until)}
    assert row(ann).badge == 4


def test_a_token_that_apple_calls_dead_is_removed(tmp_path: Path) -> None:
    ann = device()

    async def deliver(app: App, dispatch: Dispatch) -> None:
        app.apns.answers.append(Answer(410, "Unregistered", timestamp=clock.now_ms()))
        assert await dispatch.deliver([plan(ann, said())]) == {}

    run(tmp_path, deliver)
    assert row(ann) is None


def test_a_token_that_died_before_the_device_set_it_again_stays(tmp_path: Path) -> None:
    ann = device()

    async def deliver(app: App, dispatch: Dispatch) -> None:
        app.apns.answers.append(Answer(410, "Unregistered", timestamp=ann.set_at - 1))
        assert list(await dispatch.deliver([plan(ann, said())])) == [ann.user]

    run(tmp_path, deliver)
    assert row(ann).error == "Unregistered"
    assert not states(ann)


def test_a_connection_that_is_lost_behind_a_push_shows_it_once(tmp_path: Path) -> None:
    ann = device()
    told = said()

    async def deliver(app: App, dispatch: Dispatch) -> None:
        planned = [plan(ann, told)]
        app.apns.hold = lambda request: app.apns.server.cut()
        again = await dispatch.deliver(planned)
        assert list(again) == [ann.user]
        assert app.apns.accepted == 1  # nobody of us knows
        app.apns.hold = None
        await until(lambda: clock.now_ms() >= again[ann.user], "it is due again")
        assert await dispatch.deliver(planned) == {}
        assert app.apns.accepted == 2
        assert [shown.id for shown in app.apns.shown.values()] == [planned[0].push.id]

    run(tmp_path, deliver)
    assert states(ann)


def test_a_provider_that_wants_quiet_gets_it(tmp_path: Path) -> None:
    people = [device() for _ in range(4)]

    async def deliver(app: App, dispatch: Dispatch) -> None:
        app.apns.answers.append(Answer(503, "ServiceUnavailable", {"retry-after": "60"}))
        first = await dispatch.deliver([plan(people[0], said())])
        assert first[people[0].user] >= clock.now_ms() + 55_000
        others = await dispatch.deliver([plan(one, said()) for one in people[1:]])
        assert set(others) == {one.user for one in people[1:]}
        assert app.apns.received == 1

    run(tmp_path, deliver)
    assert not any(states(one) for one in people)


def test_credentials_that_apple_does_not_take_stop_the_app_and_lose_nothing(tmp_path: Path) -> None:
    people = [device() for _ in range(10)]

    async def deliver(app: App, dispatch: Dispatch) -> None:
        app.apns.keys.clear()
        for one in people:
            assert list(await dispatch.deliver([plan(one, said())])) == [one.user]
        assert app.apns.received == 5

    run(tmp_path, deliver)
    assert row(people[0]).error == "InvalidProviderToken"
    assert not any(states(one) for one in people)
