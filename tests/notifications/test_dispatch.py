"""What becomes of a notification by its provider's answer, in PostgreSQL; and what is tried again when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections

from notifications import dispatch as dispatches
from notifications import lane, outcomes, waits
from notifications.models import PushTarget
from notifications.plans import Told
from notifications.senders.interface import Outcome, Result, Target, Urgency
from notifications.turns import Turns
from tests.notifications.dispatching import (
    DOWN,
    GONE,
    LATER,
    REFUSED,
    WRONG,
    Recorder,
    deliver,
    digest,
    dispatching,
    plan,
    row,
    said,
    states,
    target,
)
from tests.support.patience import until
from whatsapp.infra import clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Moves the clock on by so many milliseconds; returns the time."""
    at = [clock.now_ms()]

    def move(by: int = 0) -> int:
        at[0] += by
        return at[0]

    monkeypatch.setattr(clock, "now_ms", lambda: at[0])
    return move


def test_what_was_accepted_is_written_before_deliver_returns(now: Callable[..., int]) -> None:
    ann, bob = target(), target()
    one, other = said(5), said(9)
    assert deliver(Recorder(), [plan(ann, one, other, badge=2), plan(bob, one, badge=None)]) == {}
    assert states(ann) == {one.conversation: (5, 5, 99), other.conversation: (9, 9, 99)}
    assert states(bob) == {one.conversation: (5, 5, 99)}
    found, kept = row(ann), row(bob)
    assert found
    assert kept
    assert (found.badge, found.success_at, found.error) == (2, now(), "")
    assert kept.badge == 7


def test_how_far_a_device_was_told_is_never_lowered() -> None:
    ann = target()
    told = said(9)
    deliver(Recorder(), [plan(ann, told)])
    deliver(Recorder(), [plan(ann, Told(told.conversation, 4))])
    assert states(ann) == {told.conversation: (9, 0, 0)}


def test_a_dead_token_is_removed_and_nothing_more_is_sent_to_it() -> None:
    ann, bob = target(), target()
    told = said()
    deliver(Recorder(), [plan(ann, told)])
    sender = Recorder({ann.token: GONE})
    assert deliver(sender, [plan(ann, said()), plan(ann, said()), plan(bob, told)]) == {}
    assert row(ann) is None
    assert states(ann) == {}
    assert [token for token, _ in sender.sent].count(ann.token) == 1
    assert states(bob)


def _registers_anew(of: Target) -> None:
    try:
        PushTarget.objects.filter(device_id=of.device).update(token="new", token_hash=digest("new"), badge=0)
    finally:
        connections.close_all()


def test_a_device_that_registered_anew_meanwhile_keeps_its_new_token() -> None:
    ann = target()
    sender = Recorder({ann.token: GONE})
    sender.meanwhile = _registers_anew
    assert deliver(sender, [plan(ann, said())]) == {}
    found = row(ann)
    assert found
    assert found.token == "new"


def test_what_the_old_token_was_told_is_not_shown_as_the_new_ones() -> None:
    ann = target()
    sender = Recorder()
    sender.meanwhile = _registers_anew
    deliver(sender, [plan(ann, said())])
    found = row(ann)
    assert found
    assert (found.badge, found.success_at) == (0, None)


def test_a_target_that_went_meanwhile_holds_nobody_up() -> None:
    ann, bob = target(), target()
    sender = Recorder()
    sender.meanwhile = lambda of: (
        PushTarget.objects.filter(device_id=ann.device).delete(),
        connections.close_all(),
    )
    assert deliver(sender, [plan(ann, said()), plan(bob, said())]) == {}
    assert states(bob)
    assert not states(ann)


def test_what_is_refused_for_good_is_not_tried_again(now: Callable[..., int]) -> None:
    ann = target()
    told = said(5)
    assert deliver(Recorder({ann.token: REFUSED}), [plan(ann, told)]) == {}
    assert states(ann) == {told.conversation: (5, 0, 0)}  # told, and the device shows nothing of it
    found = row(ann)
    assert found
    assert (found.badge, found.success_at, found.error_at, found.error) == (7, None, now(), "PayloadTooLarge")


def test_a_refusal_leaves_what_the_device_shows() -> None:
    ann = target()
    told = said(5)
    deliver(Recorder(), [plan(ann, told)])
    deliver(Recorder({ann.token: REFUSED}), [plan(ann, Told(told.conversation, 8, shown=8))])
    assert states(ann) == {told.conversation: (8, 5, 99)}


def test_a_withdrawal_that_is_refused_for_good_is_not_tried_again() -> None:
    """Safari takes none: it would be derived again with every look."""
    ann = target()
    told = said(5)
    deliver(Recorder(), [plan(ann, told)])
    gone = Told(told.conversation, 5)
    deliver(Recorder({ann.token: REFUSED}), [plan(ann, gone, urgency=Urgency.SILENT)])
    assert states(ann) == {told.conversation: (5, 0, 0)}


async def _later(sender: Recorder, ann: Target, now: Callable[..., int]) -> list[int]:
    """Waits, in milliseconds, until it is given up."""
    found = []
    async with dispatching(sender) as dispatch:
        while again := await dispatch.deliver([plan(ann, said(), ttl_s=10**6)]):
            begun = len(sender.begun)
            assert await dispatch.deliver([plan(ann, said())]) == again  # earlier: it is not sent
            assert len(sender.begun) == begun
            found.append(again[ann.user] - now())
            now(again[ann.user] - now())
    return found


def test_a_device_that_is_to_be_tried_later_waits_longer_each_time_and_is_given_up(
    now: Callable[..., int],
) -> None:
    ann = target()
    sender = Recorder({ann.token: LATER})
    found = asyncio.run(_later(sender, ann, now))
    assert len(sender.sent) == waits.ATTEMPTS == len(found) + 1
    for number, wait in enumerate(found):
        longest = min(waits.LONGEST_MS, waits.FIRST_MS * 2**number)
        assert longest // 2 - 1 <= wait <= longest
    assert len(states(ann)) == 1  # the last one counts as told
    kept = row(ann)
    assert kept
    assert kept.error == "TooManyRequests"


def test_a_push_service_that_is_away_for_long_is_tried_until_the_push_is_too_old(
    now: Callable[..., int],
) -> None:
    ann = target()
    sender = Recorder({ann.token: Result(Outcome.LATER, "Paused")})
    at = now()

    async def run() -> None:
        async with dispatching(sender) as dispatch:
            while again := await dispatch.deliver([plan(ann, said(), at=at, ttl_s=6 * 3600)]):
                now(again[ann.user] - now())

    asyncio.run(run())
    assert now() - at > 6 * 3_600_000
    assert len(sender.sent) > waits.ATTEMPTS


def test_what_a_provider_asks_for_a_token_is_kept(now: Callable[..., int]) -> None:
    ann = target()
    sender = Recorder({ann.token: LATER._replace(retry_after_ms=600_000)})
    assert deliver(sender, [plan(ann, said())]) == {ann.user: now() + 600_000}


def test_another_token_of_the_device_does_not_wait() -> None:
    ann = target()
    sender = Recorder({ann.token: LATER._replace(retry_after_ms=3_600_000)})

    async def run() -> None:
        async with dispatching(sender) as dispatch:
            assert await dispatch.deliver([plan(ann, said())])
            assert await dispatch.deliver([plan(ann, said())])
            assert len(sender.sent) == 1
            assert not await dispatch.deliver([plan(ann._replace(token="another"), said())])

    asyncio.run(run())
    assert [token for token, _ in sender.sent] == [ann.token, "another"]


def test_what_has_no_turn_for_long_is_planned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be read before its provider has an ear for it."""
    monkeypatch.setattr(lane, "TURN_S", 0.05)
    ann, bob, told = target(), target(), said()
    sender = Recorder()
    sender.gate.clear()

    async def run() -> None:
        async with dispatching(sender) as dispatch:
            dispatch.lanes["ios"]._turns = Turns(1, 10_000)
            first = asyncio.create_task(dispatch.deliver([plan(ann, said())]))
            await until(lambda: sender.begun, "the first is being sent")
            began = clock.now_ms()
            again = await dispatch.deliver([plan(bob, told)])
            assert began <= again[bob.user] <= clock.now_ms()
            sender.gate.set()
            assert await first == {}
            assert await dispatch.deliver([plan(bob, told)]) == {}

    asyncio.run(run())
    assert [token for token, _ in sender.sent] == [ann.token, bob.token]
    assert states(bob) == {told.conversation: (told.seq, told.shown, told.until)}


def test_a_call_does_not_wait_for_its_device(now: Callable[..., int]) -> None:
    ann = target()
    sender = Recorder({ann.token: LATER})

    async def run() -> None:
        async with dispatching(sender) as dispatch:
            await dispatch.deliver([plan(ann, said())])
            await dispatch.deliver([plan(ann, said())])
            assert len(sender.sent) == 1
            await dispatch.deliver([plan(ann, urgency=Urgency.CALL)])
            assert len(sender.sent) == 2

    asyncio.run(run())


@pytest.mark.parametrize("answer", [DOWN, WRONG], ids=["down", "misconfigured"])
def test_an_app_that_fails_again_and_again_is_left_alone(answer: Result) -> None:
    people = [target() for _ in range(12)]
    sender = Recorder({one.token: answer for one in people})

    async def run() -> None:
        async with dispatching(sender, web=(other := Recorder())) as dispatch:
            for one in people:
                again = await dispatch.deliver([plan(one, said())])
                assert again[one.user] > clock.now_ms()
            assert len(sender.sent) == 5
            assert dispatch.lanes["ios"].state == 2
            bob = people[0]._replace(app="web")
            assert await dispatch.deliver([plan(bob, said())]) == {}  # another app's are sent
            assert len(other.sent) == 1

    asyncio.run(run())
    assert not states(people[1])
    found, unasked = row(people[1]), row(people[-1])
    assert found
    assert unasked
    assert found.error == ("InvalidProviderToken" if answer is WRONG else "")
    assert unasked.error == ""


def test_a_provider_that_asks_to_be_left_alone_is(now: Callable[..., int]) -> None:
    ann, bob = target(), target()
    sender = Recorder({ann.token: DOWN._replace(retry_after_ms=120_000)})

    async def run() -> None:
        async with dispatching(sender) as dispatch:
            again = await dispatch.deliver([plan(ann, said())])
            assert again[ann.user] >= now() + 120_000
            again = await dispatch.deliver([plan(bob, said())])
            assert again[bob.user] >= now() + 119_000
            assert len(sender.sent) == 1

    asyncio.run(run())


@pytest.mark.parametrize("answer", [LATER, WRONG._replace(of_app=False)], ids=["later", "another_key"])
def test_answers_about_a_token_leave_its_app_alone(answer: Result) -> None:
    """Such as a subscription of a browser that was made for another key than ours, which anybody can bring."""
    people = [target() for _ in range(12)]
    sender = Recorder({one.token: answer for one in people})
    deliver(sender, [plan(one, said()) for one in people])
    assert len(sender.sent) == 12


def test_what_is_older_than_it_may_be_is_dropped_and_counts_as_told(now: Callable[..., int]) -> None:
    ann = target()
    sender = Recorder()
    late, early = said(), said()
    planned = [
        plan(ann, late, at=now() - 30_001, ttl_s=30, urgency=Urgency.CALL),
        plan(ann, early, at=now() - 30_000, ttl_s=30),
    ]
    assert deliver(sender, planned) == {}
    assert [one for _, one in sender.sent] == [planned[1].push]
    assert states(ann) == {late.conversation: (5, 0, 0), early.conversation: (5, 5, 99)}


def test_an_app_that_is_not_configured_any_more_is_left() -> None:
    ann = target("other")
    assert deliver(Recorder(), [plan(ann, said())]) == {}
    assert row(ann) is not None
    assert not states(ann)


class Failing:
    """A pool that cannot give a connection the first times."""

    def __init__(self, pool: Any, times: int) -> None:
        self._pool, self.left = pool, times

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        if self.left:
            self.left -= 1
            raise psycopg.OperationalError("away")
        async with self._pool.connection() as link:
            yield link


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "_REPEATS_S", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("quick")
def test_a_database_that_is_away_for_a_moment_loses_nothing() -> None:
    ann = target()
    told = said()
    assert deliver(Recorder(), [plan(ann, told)], around=lambda pool: Failing(pool, 3)) == {}
    assert states(ann)


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_written_is_looked_at_again(now: Callable[..., int]) -> None:
    ann = target()
    again = deliver(Recorder(), [plan(ann, said())], around=lambda pool: Failing(pool, 10))
    assert again == {ann.user: now() + dispatches.UNWRITTEN_MS}
    assert not states(ann)


def test_a_sender_that_fails_is_a_result() -> None:
    ann, bob = target(), target()

    class Broken(Recorder):
        async def send(self, target: Target, push: Any) -> Result:
            if target.token == ann.token:
                raise RuntimeError("broken")
            return await super().send(target, push)

    assert list(deliver(Broken(), [plan(ann, said()), plan(bob, said())])) == [ann.user]
    assert states(bob)


def test_senders_are_closed() -> None:
    sender = Recorder()
    deliver(sender, [])
    assert sender.closed


async def test_a_test_of_an_app_that_is_not_configured_says_so() -> None:
    result = await dispatches.send_test(Target("u", "d", "nowhere", "t"))
    assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "no_app")
