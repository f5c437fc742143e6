"""From a plan to what a device shows and what PostgreSQL knows, through the sender of FCM and a server that checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from devtools.push_servers.fcm import Cut, Google, Reply, Sent, error
from notifications.dispatch import Dispatch
from notifications.senders.interface import Target
from tests.notifications.dispatching import plan, row, said, states, target, url
from tests.notifications.fcm_app import at_google, made, options
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.postgres import open_pool

pytestmark = pytest.mark.django_db(transaction=True)

_FOREIGN: Final = error(403, "PERMISSION_DENIED", "SenderId mismatch", code="SENDER_ID_MISMATCH")


def device() -> Target:
    return target("android")


def run(folder: Path, what: Callable[[Google, Dispatch], Awaitable[None]]) -> None:
    async def with_both() -> None:
        async with at_google(folder) as (google, ca_file), open_pool(url()) as pool:
            dispatch = Dispatch(pool, {"android": made(options(google, ca_file))})
            await what(google, dispatch)
            await dispatch.close()

    asyncio.run(with_both())


def test_what_is_planned_is_sent_and_written(tmp_path: Path) -> None:
    ann, bob = device(), device()
    told = said()

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        planned = [plan(ann, told, badge=4), plan(bob, told)]
        assert await dispatch.deliver(planned) == {}
        assert {sent.data["id"] for sent in google.sent} == {one.push.id for one in planned}

    run(tmp_path, deliver)
    assert states(ann) == states(bob) == {told.conversation: (told.seq, told.shown, told.until)}
    assert row(ann).badge == 4


def test_a_token_whose_app_was_removed_is_removed_at_once(tmp_path: Path) -> None:
    ann, bob = device(), device()

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        google.dead.add(ann.token)
        assert await dispatch.deliver([plan(ann, said()), plan(ann, said()), plan(bob, said())]) == {}
        assert [sent.token for sent in google.asked].count(ann.token) == 1

    run(tmp_path, deliver)
    assert row(ann) is None
    assert states(bob)


def test_a_project_that_is_not_found_removes_no_token(tmp_path: Path) -> None:
    """The twin: the same status without the word that the app was removed."""
    ann = device()

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        google.answer = _always(error(404, "NOT_FOUND", "Requested entity was not found."))
        assert list(await dispatch.deliver([plan(ann, said())])) == [ann.user]

    run(tmp_path, deliver)
    assert row(ann).error == "NOT_FOUND"
    assert not states(ann)


def test_a_connection_that_is_lost_behind_a_message_repeats_its_id(tmp_path: Path) -> None:
    ann = device()

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        async def take_and_cut(sent: Sent) -> Cut:
            google.accept(sent)
            google.answer = None
            return Cut()

        google.answer = take_and_cut
        planned = [plan(ann, said())]
        again = await dispatch.deliver(planned)
        assert list(again) == [ann.user]
        assert len(google.sent) == 1  # nobody of us knows
        await until(lambda: clock.now_ms() >= again[ann.user], "it is due again")
        assert await dispatch.deliver(planned) == {}
        assert [sent.data["id"] for sent in google.sent] == [planned[0].push.id] * 2
        assert len({sent.android["collapse_key"] for sent in google.sent}) == 1

    run(tmp_path, deliver)
    assert states(ann)


def test_a_quota_that_is_used_up_leaves_google_alone(tmp_path: Path) -> None:
    people = [device() for _ in range(4)]

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        google.answer = _always(
            error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", code="QUOTA_EXCEEDED", retry_after="90")
        )
        first = await dispatch.deliver([plan(people[0], said())])
        assert first[people[0].user] >= clock.now_ms() + 80_000
        others = await dispatch.deliver([plan(one, said()) for one in people[1:]])
        assert set(others) == {one.user for one in people[1:]}
        assert len(google.asked) == 1

    run(tmp_path, deliver)
    assert not any(states(one) for one in people)


def test_tokens_of_another_project_do_not_stop_the_app(tmp_path: Path) -> None:
    """Any client may bring one. The twin is below: none was accepted before, and it may be our mistake."""
    ann, bob, strangers = device(), device(), [device() for _ in range(10)]

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        assert await dispatch.deliver([plan(ann, said())]) == {}
        google.answer = _foreign(strangers)
        for one in strangers:
            assert await dispatch.deliver([plan(one, said())]) == {}
        assert await dispatch.deliver([plan(bob, said())]) == {}

    run(tmp_path, deliver)
    assert states(bob)
    assert row(strangers[0]).error == "SENDER_ID_MISMATCH"


def test_credentials_of_another_project_stop_the_app_and_lose_nothing(tmp_path: Path) -> None:
    people = [device() for _ in range(10)]

    async def deliver(google: Google, dispatch: Dispatch) -> None:
        google.answer = _foreign(people)
        for one in people:
            assert list(await dispatch.deliver([plan(one, said())])) == [one.user]
        assert len(google.asked) == 5

    run(tmp_path, deliver)
    assert all(row(one) for one in people)
    assert not any(states(one) for one in people)


def _always(reply: Reply) -> Callable[[Sent], Awaitable[Reply]]:
    async def answer(_: Sent) -> Reply:
        return reply

    return answer


def _foreign(strangers: list[Target]) -> Callable[[Sent], Awaitable[Reply | None]]:
    tokens = {one.token for one in strangers}

    async def answer(sent: Sent) -> Reply | None:
        return _FOREIGN if sent.token in tokens else None

    return answer
