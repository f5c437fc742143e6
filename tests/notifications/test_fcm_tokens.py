"""Access tokens of FCM: fetched once for all, renewed while the old one holds, and at once behind a 401."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devtools.push_servers.fcm import Cut, Google, Reply, Sent, error, never
from notifications.senders.fcm import FcmSender
from notifications.senders.google_tokens import AccessTokens
from notifications.senders.interface import Outcome, Result
from tests.notifications.fcm_app import HASTY, Clock, at_google, made, options, push, target
from tests.support.patience import until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[tuple[Google, Path]]:
    async with at_google(tmp_path) as service:
        yield service


@pytest.fixture
def google(service: tuple[Google, Path]) -> Google:
    return service[0]


@pytest_asyncio.fixture
async def fcm(service: tuple[Google, Path], clock: Clock) -> AsyncIterator[FcmSender]:
    sender = made(options(*service), now=clock)
    yield sender
    await sender.close()


@pytest_asyncio.fixture
async def hasty(service: tuple[Google, Path], clock: Clock) -> AsyncIterator[FcmSender]:
    sender = made(options(*service), HASTY, clock)
    yield sender
    await sender.close()


async def _outcome(fcm: FcmSender) -> Outcome:
    return (await fcm.send(target(), push())).outcome


async def test_a_token_serves_for_half_of_its_life(google: Google, fcm: FcmSender, clock: Clock) -> None:
    assert await _outcome(fcm) is Outcome.ACCEPTED
    clock.at += 1_799
    assert await _outcome(fcm) is Outcome.ACCEPTED
    assert google.given == 1


async def test_then_it_is_renewed_while_it_still_serves(google: Google, fcm: FcmSender, clock: Clock) -> None:
    await _outcome(fcm)
    hold = asyncio.Event()

    async def slow() -> None:
        await hold.wait()

    google.token_answer = slow
    clock.at += 1_801
    # Nobody waits for the new one.
    assert await _outcome(fcm) is Outcome.ACCEPTED
    assert google.given == 1
    hold.set()
    await until(lambda: google.given == 2, "a new token was given")

    clock.at += 1_500  # behind the end of the first, before that of the second
    assert await _outcome(fcm) is Outcome.ACCEPTED
    assert google.given == 2


async def test_a_token_endpoint_that_is_away_costs_nothing_while_the_token_serves(
    google: Google, fcm: FcmSender, clock: Clock
) -> None:
    await _outcome(fcm)
    asked = 0

    async def away() -> Reply:
        nonlocal asked
        asked += 1
        return Reply(503, b"")

    google.token_answer = away
    clock.at += 1_801
    assert await _outcome(fcm) is Outcome.ACCEPTED
    await until(lambda: asked == 1, "it was asked for a new one")
    await until(lambda: fcm._tokens._failure is not None, "the answer was read")
    assert await _outcome(fcm) is Outcome.ACCEPTED
    assert asked == 1, "it is left alone for a while"

    clock.at += 3_240 - 1_801 + 1  # nine tenths of an hour: it is not used any more
    result = await fcm.send(target(), push())
    assert result == Result(Outcome.LATER, "token_unavailable", 503, None, of_app=True)
    assert asked == 2


async def test_who_waits_for_a_token_waits_for_the_same(google: Google, fcm: FcmSender) -> None:
    hold, asked = asyncio.Event(), 0

    async def slow() -> None:
        nonlocal asked
        asked += 1
        await hold.wait()

    google.token_answer = slow
    sends = [asyncio.create_task(_outcome(fcm)) for _ in range(50)]
    await until(lambda: asked, "the token was asked for")
    sends[0].cancel()  # the first one asked, and gives up
    hold.set()
    assert set(await asyncio.gather(*sends[1:])) == {Outcome.ACCEPTED}
    assert (asked, google.given) == (1, 1)


async def test_a_token_that_is_not_accepted_is_renewed_at_once(google: Google, fcm: FcmSender) -> None:
    await _outcome(fcm)
    google.tokens.clear()

    outcomes = await asyncio.gather(*(_outcome(fcm) for _ in range(20)))

    assert set(outcomes) == {Outcome.ACCEPTED}
    assert google.given == 2, "one for all twenty"
    assert len(google.sent) == 21


async def test_one_that_is_never_accepted_is_our_mistake(google: Google, fcm: FcmSender) -> None:
    async def never_good(_: Sent) -> Reply:
        return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")

    google.answer = never_good
    result = await fcm.send(target(), push())
    assert result == Result(Outcome.MISCONFIGURED, "UNAUTHENTICATED", 401, of_app=True)
    assert (google.given, len(google.asked)) == (2, 2)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (
            Reply(400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'),
            Result(Outcome.MISCONFIGURED, "invalid_grant", 400, of_app=True),
        ),
        (
            Reply(401, b'{"error": "invalid_client"}'),
            Result(Outcome.MISCONFIGURED, "invalid_client", 401, of_app=True),
        ),
        (Reply(403, b"<html>"), Result(Outcome.MISCONFIGURED, "token_refused", 403, of_app=True)),
        (
            Reply(400, b'{"error": "a word that nobody knows"}'),
            Result(Outcome.MISCONFIGURED, "token_refused", 400, of_app=True),
        ),
        (
            Reply(503, b"", {"retry-after": "30"}),
            Result(Outcome.LATER, "token_unavailable", 503, 30_000, of_app=True),
        ),
        (Reply(429, b""), Result(Outcome.LATER, "token_unavailable", 429, None, of_app=True)),
        (
            Reply(200, b"<html>Welcome</html>"),
            Result(Outcome.LATER, "token_unreadable", 200, None, of_app=True),
        ),
        (
            Reply(200, b'{"access_token": "x", "expires_in": "soon"}'),
            Result(Outcome.LATER, "token_unreadable", 200, None, of_app=True),
        ),
        (Cut(), Result(Outcome.LATER, "token_unreachable", 0, None, of_app=True)),
    ],
    ids=lambda value: f"{value.status}-{value.reason}" if isinstance(value, Result) else "",
)
async def test_each_answer_of_the_token_endpoint(
    google: Google, fcm: FcmSender, clock: Clock, reply: Reply | Cut, result: Result
) -> None:
    asked = 0

    async def answer() -> Reply | Cut:
        nonlocal asked
        asked += 1
        return reply

    google.token_answer = answer
    assert await fcm.send(target(), push()) == result
    first = asked
    assert await fcm.send(target(), push()) == result
    assert asked == first, "it is left alone for a while"
    assert not google.asked

    google.token_answer = None
    clock.at += (result.retry_after_ms or 5_000) / 1_000 + 1
    assert await _outcome(fcm) is Outcome.ACCEPTED


async def test_a_token_endpoint_that_is_frozen_is_given_up(
    google: Google, hasty: FcmSender, clock: Clock
) -> None:
    async def frozen() -> Reply:
        return await never()

    google.token_answer = frozen
    results = await asyncio.gather(*(hasty.send(target(), push()) for _ in range(5)))
    assert set(results) == {Result(Outcome.LATER, "token_unreachable", 0, None, of_app=True)}

    google.token_answer = None
    clock.at += 6
    assert await _outcome(hasty) is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("field", "value"),
    [("client_email", "another@example.com"), ("private_key_id", "0" * 40)],
)
async def test_the_endpoint_checks_the_assertion(
    service: tuple[Google, Path], field: str, value: str
) -> None:
    """The twin of all that is accepted: another issuer, another key."""
    sender = made(options(*service, **{field: value}))
    result = await sender.send(target(), push())
    await sender.close()
    assert result == Result(Outcome.MISCONFIGURED, "invalid_grant", 400, of_app=True)


# -- without the protection --------------------------------------------------------------------------------------------------


async def test_twin_without_a_shared_fetch_each_send_asks(
    google: Google, fcm: FcmSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_each(self: AccessTokens) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._exchange())

    monkeypatch.setattr(AccessTokens, "_fetch", for_each)
    await asyncio.gather(*(_outcome(fcm) for _ in range(20)))
    assert google.given == 20


async def test_twin_without_a_renewal_behind_401_a_token_that_was_withdrawn_stops_all(
    google: Google, fcm: FcmSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _outcome(fcm)
    google.tokens.clear()
    monkeypatch.setattr(AccessTokens, "rejected", lambda self, value: None)
    assert await _outcome(fcm) is Outcome.MISCONFIGURED
    assert google.given == 1
