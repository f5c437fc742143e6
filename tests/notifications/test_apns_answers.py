"""Each answer that Apple documents, and what becomes of the token, of the push and of the app."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from devtools.push_servers.apns import Told
from notifications.senders.apns_answers import REASONS
from notifications.senders.interface import Outcome
from tests.notifications.apns_app import App, opened, push, target

#: (status, reason, outcome, whether it is about the whole app)
DOCUMENTED = [
    (400, "BadCollapseId", Outcome.REFUSED, False),
    (400, "BadDeviceToken", Outcome.GONE, False),
    (400, "BadExpirationDate", Outcome.REFUSED, False),
    (400, "BadMessageId", Outcome.REFUSED, False),
    (400, "BadPriority", Outcome.REFUSED, False),
    (400, "BadTopic", Outcome.MISCONFIGURED, True),
    (400, "DeviceTokenNotForTopic", Outcome.GONE, False),
    (400, "DuplicateHeaders", Outcome.REFUSED, False),
    (400, "IdleTimeout", Outcome.LATER, False),
    (400, "InvalidPushType", Outcome.REFUSED, False),
    (400, "MissingDeviceToken", Outcome.REFUSED, False),
    (400, "MissingTopic", Outcome.MISCONFIGURED, True),
    (400, "PayloadEmpty", Outcome.REFUSED, False),
    (400, "TopicDisallowed", Outcome.MISCONFIGURED, True),
    (403, "BadCertificate", Outcome.MISCONFIGURED, True),
    (403, "BadCertificateEnvironment", Outcome.MISCONFIGURED, True),
    (403, "BadEnvironmentKeyIdInToken", Outcome.MISCONFIGURED, True),
    (403, "ExpiredProviderToken", Outcome.MISCONFIGURED, True),  # of one made a moment ago: a clock is wrong
    (403, "Forbidden", Outcome.MISCONFIGURED, True),
    (403, "InvalidProviderToken", Outcome.MISCONFIGURED, True),
    (403, "MissingProviderToken", Outcome.MISCONFIGURED, True),
    (403, "UnrelatedKeyIdInToken", Outcome.MISCONFIGURED, True),
    (404, "BadPath", Outcome.REFUSED, False),
    (405, "MethodNotAllowed", Outcome.REFUSED, False),
    (410, "ExpiredToken", Outcome.GONE, False),
    (410, "Unregistered", Outcome.GONE, False),
    (413, "PayloadTooLarge", Outcome.REFUSED, False),
    (429, "TooManyProviderTokenUpdates", Outcome.LATER, True),
    (429, "TooManyRequests", Outcome.LATER, False),
    (500, "InternalServerError", Outcome.LATER, True),
    (503, "ServiceUnavailable", Outcome.LATER, True),
    (503, "Shutdown", Outcome.LATER, False),
]  # fmt: skip


async def _accepted(app: App) -> None:
    assert (await app.sender.send(target(), push())).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("status", "reason", "outcome", "of_app"), DOCUMENTED, ids=[d[1] for d in DOCUMENTED]
)
async def test_each_documented_answer(
    tmp_path: Path, status: int, reason: str, outcome: Outcome, of_app: bool
) -> None:
    async with opened(tmp_path) as app:
        await _accepted(app)
        app.apns.answers = [Told(status, reason)]
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason, result.status) == (outcome, reason, status)
        assert result.of_app is of_app
        assert app.apns.received == 2, "an answer is not a reason to ask again"
        await _accepted(app)  # and the sender goes on


def test_none_is_missing() -> None:
    assert {reason for _, reason, _, _ in DOCUMENTED} == REASONS


@pytest.mark.parametrize(
    ("status", "outcome", "of_app"),
    [
        (400, Outcome.REFUSED, False),
        (403, Outcome.MISCONFIGURED, True),
        (410, Outcome.GONE, False),
        (429, Outcome.LATER, False),
        (502, Outcome.LATER, True),
        (302, Outcome.REFUSED, False),
    ],
)
async def test_a_reason_that_nobody_knows_becomes_other(
    tmp_path: Path, status: int, outcome: Outcome, of_app: bool
) -> None:
    """The reason is a label of a metric: only Apple's own words may be one."""
    async with opened(tmp_path) as app:
        app.apns.answers = [Told(status, "NewInIOS" * 2_000)]
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason, result.status) == (outcome, "other", status)
        assert result.of_app is of_app


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"reason": 7}', b"[" * 9_000, b"\xff"])
async def test_an_answer_that_is_no_json_counts_by_its_status(tmp_path: Path, body: bytes) -> None:
    async with opened(tmp_path) as app:
        app.apns.server.handle = lambda request: request.answer(503, {}, body)
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason, result.status) == (Outcome.LATER, "other", 503)


@pytest.mark.parametrize("reason", ["BadDeviceToken", "DeviceTokenNotForTopic"])
async def test_no_token_is_called_dead_before_the_app_is_known_to_be_set_up_right(
    tmp_path: Path, reason: str
) -> None:
    """In the wrong environment, or with the wrong topic, every token is answered like this: they must not all be removed."""
    async with opened(tmp_path) as app:
        app.apns.answers = [Told(400, reason)] * 2
        for _ in range(2):
            assert (await app.sender.send(target(), push())).outcome is Outcome.REFUSED
        await _accepted(app)
        app.apns.answers = [Told(400, reason)]
        assert (await app.sender.send(target(), push())).outcome is Outcome.GONE


async def test_a_token_that_was_given_again_since_it_died_lives(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        now_ms = int(time.time() * 1_000)
        for set_at, died, outcome in (
            (now_ms, now_ms - 1, Outcome.LATER),
            (now_ms, now_ms, Outcome.GONE),
            (now_ms, now_ms + 1, Outcome.GONE),
            (now_ms, None, Outcome.GONE),
        ):
            app.apns.answers = [Told(410, "Unregistered", timestamp=died)]
            result = await app.sender.send(target(set_at=set_at), push())
            assert (result.outcome, result.of_app) == (outcome, False), died


async def test_how_long_apple_asks_to_wait_is_passed_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for status, reason in ((503, "ServiceUnavailable"), (429, "TooManyRequests")):
            app.apns.answers = [Told(status, reason, {"retry-after": "17"}), Told(status, reason)]
            assert (await app.sender.send(target(), push())).retry_after_ms == 17_000
            assert (await app.sender.send(target(), push())).retry_after_ms is None


# the provider token


async def test_a_provider_token_is_kept_and_renewed_before_apple_refuses_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for minutes in range(0, 180, 10):
            app.clock.moved_ms = minutes * 60_000
            app.clock.providers_s = minutes * 60
            await _accepted(app)
        assert app.apns.received == 18  # none was refused
        assert (
            len(app.apns.provider_tokens) == 5
        )  # at 0, 40, 80, 120 and 160 minutes: not more often than every 20
        app.clock.moved_ms = 0  # a clock that is set back makes a new one as well
        app.clock.providers_s = 0
        await _accepted(app)


async def test_a_token_that_is_too_old_for_apple_is_renewed_at_once_and_once_for_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await _accepted(app)
        app.clock.moved_ms = 30 * 60_000  # to us it is young enough
        app.clock.providers_s = 65 * 60
        results = await asyncio.gather(*(app.sender.send(target(), push()) for _ in range(50)))
        assert {r.outcome for r in results} == {Outcome.ACCEPTED}
        assert len(app.apns.provider_tokens) == 2
        assert app.apns.accepted == 51
        assert app.apns.received <= 101


async def test_twin_without_renewal_all_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.senders.apns_token.ProviderToken.renew", lambda *_: False)
    async with opened(tmp_path) as app:
        await _accepted(app)
        app.clock.moved_ms = 30 * 60_000
        app.clock.providers_s = 65 * 60
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "ExpiredProviderToken")


async def test_a_clock_that_is_wrong_makes_no_storm_of_tokens(tmp_path: Path) -> None:
    """Apple refuses tokens that change more often than every 20 minutes, too."""
    async with opened(tmp_path) as app:
        app.clock.providers_s = 2 * 3_600
        results = [await app.sender.send(target(), push()) for _ in range(10)]
        assert {(r.outcome, r.of_app) for r in results} == {(Outcome.MISCONFIGURED, True)}
        assert len(app.apns.provider_tokens) == 1
        assert app.apns.received == 10


async def test_a_key_that_apple_does_not_know_is_ours_to_mend(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for wrong in ({"key_id": "ZZZ123ZZZZ"}, {"team_id": "ZZZ123ZZZZ"}):
            sender = app.another(**wrong)
            result = await sender.send(target(), push())
            assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "InvalidProviderToken")
            await sender.close()
        sender = app.another(topic="org.example.other")
        assert (await sender.send(target(), push())).reason == "BadTopic"
        await sender.close()
