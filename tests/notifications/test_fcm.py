"""FCM over HTTP/2 and TLS, against a server that checks what Google checks (devtools/push_servers/fcm.py)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import http_ece
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.exceptions import ImproperlyConfigured

from devtools.push_servers.fcm import Cut, GoAway, Google, Reply, Sent, error, never, unregistered
from notifications.senders.fcm import FcmSender, message
from notifications.senders.interface import Outcome, PushApp, Result, Urgency
from notifications.senders.registry import open_senders
from tests.notifications.fcm_app import HASTY, at_google, made, options, push, target
from tests.support.patience import until


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[tuple[Google, Path]]:
    async with at_google(tmp_path) as service:
        yield service


@pytest.fixture
def google(service: tuple[Google, Path]) -> Google:
    return service[0]


@pytest.fixture
def right(service: tuple[Google, Path]) -> dict[str, str]:
    """Options that serve."""
    return options(*service)


@pytest_asyncio.fixture
async def fcm(right: dict[str, str]) -> AsyncIterator[FcmSender]:
    sender = made(right)
    yield sender
    await sender.close()


@pytest_asyncio.fixture
async def hasty(right: dict[str, str]) -> AsyncIterator[FcmSender]:
    """Its patience for answers is short."""
    sender = made(right, HASTY)
    yield sender
    await sender.close()


def answering(google: Google, *replies: Reply | Cut | GoAway | None) -> None:
    """One reply for each send in turn, the last for all others."""
    left = list(replies)

    async def answer(_: Sent) -> Reply | Cut | GoAway | None:
        return left.pop(0) if len(left) > 1 else left[0]

    google.answer = answer


# -- what is sent ------------------------------------------------------------------------------------------------------------


async def test_a_message_has_data_alone_and_the_headers_of_both_platforms(
    google: Google, fcm: FcmSender
) -> None:
    sent = push(id="6f7ab4b8-0e6f-4d2c-9f6f-6f1b3f0b9d11")

    assert await fcm.send(target(), sent) == Result(Outcome.ACCEPTED, "", 200)

    assert google.sent == [
        Sent(
            "c1:APA91b",
            {"type": "message", "id": sent.id, "collapse": "Zk3_-9", "badge": "3"},
            {"priority": "HIGH", "ttl": "3600s", "collapse_key": "Zk3_-9"},
            {"TTL": "3600", "Urgency": "normal", "Topic": "Zk3_-9"},
        )
    ]


@pytest.mark.parametrize(
    ("urgency", "priority", "web"),
    [
        (Urgency.CALL, "HIGH", "high"),
        (Urgency.MESSAGE, "HIGH", "normal"),
        (Urgency.SILENT, "NORMAL", "low"),
    ],
)
async def test_each_urgency_has_its_words(
    google: Google, fcm: FcmSender, urgency: Urgency, priority: str, web: str
) -> None:
    await fcm.send(target(), push(urgency, badge=None, ttl_s=0))

    [sent] = google.sent
    assert (sent.data["type"], sent.android["priority"], sent.web["Urgency"]) == (
        urgency.value,
        priority,
        web,
    )
    assert (sent.android["ttl"], sent.web["TTL"]) == ("0s", "0")
    assert "badge" not in sent.data


async def test_no_lifetime_is_above_that_of_google(google: Google, fcm: FcmSender) -> None:
    assert (await fcm.send(target(), push(ttl_s=10**9))).outcome is Outcome.ACCEPTED
    assert google.sent[0].android["ttl"] == "2419200s"


async def test_content_is_readable_with_the_keys_of_the_device_alone(google: Google, fcm: FcmSender) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = os.urandom(16)

    await fcm.send(target(p256dh=public, auth=secret), push(content=b'{"text":"see you at nine"}'))

    [sent] = google.sent
    sealed = base64.urlsafe_b64decode(sent.data["sealed"] + "==")
    opened = http_ece.decrypt(sealed, private_key=key, auth_secret=secret, version="aes128gcm")
    assert opened.rstrip(b"\0") == b'{"text":"see you at nine"}'
    assert b"nine" not in sealed


async def test_without_keys_nothing_of_the_content_leaves(google: Google, fcm: FcmSender) -> None:
    await fcm.send(target(), push(content=b"see you at nine"))
    assert "sealed" not in google.sent[0].data
    assert "nine" not in repr(google.sent)


@pytest.mark.parametrize(("length", "fits"), [(2_777, True), (2_778, False), (3_900, False), (10_000, False)])
async def test_content_that_does_not_fit_is_left_out(
    google: Google, fcm: FcmSender, length: int, fits: bool
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    longest = push(collapse="c" * 32, badge=4_294_967_295, content=b"x" * length)

    result = await fcm.send(target(p256dh=public, auth=os.urandom(16)), longest)

    assert result.outcome is Outcome.ACCEPTED
    assert ("sealed" in google.sent[0].data) is fits


async def test_the_server_refuses_what_google_refuses(google: Google, fcm: FcmSender) -> None:
    """So that what is accepted above says something."""
    body = message(target(), push())
    token = await fcm._tokens.get()
    for wrong in (
        body | {"priority": "HIGH"},
        body | {"data": {"badge": 3}},
        body | {"data": {"x": "y" * 4_096}},
        body | {"data": {"google.x": ""}},
        body | {"android": {"ttl": "3600"}},
        body | {"android": {"priority": "high"}},
        body | {"webpush": {"headers": {"Topic": "ä"}}},
        body | {"token": ""},
    ):
        answer = await fcm._client.post(
            fcm._address.post({"authorization": f"Bearer {token}", "content-type": "application/json"}),
            json.dumps({"message": wrong}).encode(),
        )
        assert answer.status == 400, wrong
    assert not google.sent


# -- what is answered --------------------------------------------------------------------------------------------------------

_BAD_TOKEN = "The registration token is not a valid FCM registration token"


_INVALID: Final = "INVALID_ARGUMENT"
_EXHAUSTED: Final = "RESOURCE_EXHAUSTED"
_QUOTA: Final = "QUOTA_EXCEEDED"
_DENIED: Final = "Permission 'cloudmessaging.messages.create' denied"


def invalid(said: str, *violations: str, code: str = _INVALID) -> Reply:
    return error(400, _INVALID, said, code=code, violations=list(violations))


def exhausted(quota: str = "", code: str = _QUOTA, retry_after: str = "") -> Reply:
    return error(429, _EXHAUSTED, "Quota exceeded.", code=code, quota=quota, retry_after=retry_after)


def gone(reason: str, status: int) -> Result:
    return Result(Outcome.GONE, reason, status)


def refused(reason: str, status: int = 400) -> Result:
    return Result(Outcome.REFUSED, reason, status)


def later(reason: str, status: int, wait_ms: int | None = None, *, of_app: bool = True) -> Result:
    return Result(Outcome.LATER, reason, status, wait_ms, of_app)


def misconfigured(reason: str, status: int) -> Result:
    return Result(Outcome.MISCONFIGURED, reason, status, of_app=True)


_ANSWERS: Final = {
    "its app was removed": (unregistered(), gone("UNREGISTERED", 404)),
    "no token, as documented": (invalid(_BAD_TOKEN), gone(_INVALID, 400)),
    "no token, with its field": (invalid("Invalid registration token", "message.token"), gone(_INVALID, 400)),
    # The same code, and nothing is wrong with the token.
    "too big": (invalid("Message is too big.", "message.data"), refused(_INVALID)),
    "too big, without a field": (invalid("Message is too big."), refused(_INVALID)),
    "several fields": (invalid("Invalid", "message.token", "message.android.ttl"), refused(_INVALID)),
    "not FCM's own word": (invalid(_BAD_TOKEN, code=""), refused(_INVALID)),
    "a precondition": (error(400, "FAILED_PRECONDITION", "No."), refused("FAILED_PRECONDITION")),
    # Quotas are the project's, unless the answer says that one is the device's.
    "quota": (exhausted("Message rate exceeded", retry_after="17"), later(_QUOTA, 429, 17_000)),
    "quota without a word": (exhausted(code=""), later(_EXHAUSTED, 429, 60_000)),
    "quota of a device": (
        exhausted("Device message rate exceeded"),
        later(_QUOTA, 429, 60_000, of_app=False),
    ),
    "unavailable": (
        error(503, "UNAVAILABLE", "Try again.", code="UNAVAILABLE", retry_after="3"),
        later("UNAVAILABLE", 503, 3_000),
    ),
    "internal": (error(500, "INTERNAL", "Internal error.", code="INTERNAL"), later("INTERNAL", 500)),
    "unspecified": (error(500, "UNKNOWN", "?", code="UNSPECIFIED_ERROR"), later("UNSPECIFIED_ERROR", 500)),
    "unspecified, of ours": (
        error(400, "UNKNOWN", "?", code="UNSPECIFIED_ERROR"),
        refused("UNSPECIFIED_ERROR"),
    ),
    "a balancer's page": (Reply(502, b"<html>Bad gateway</html>"), later("HTTP", 502)),
    "not allowed": (error(403, "PERMISSION_DENIED", _DENIED), misconfigured("PERMISSION_DENIED", 403)),
    # Not UNREGISTERED: the project is not there, and no token is removed.
    "no project": (
        error(404, "NOT_FOUND", "Requested entity was not found."),
        misconfigured("NOT_FOUND", 404),
    ),
    "no such page": (Reply(404, b"<html>404</html>"), misconfigured("HTTP", 404)),
    "elsewhere": (Reply(302, b"", {"location": "https://elsewhere/"}), misconfigured("HTTP", 302)),
    # A page that stands in for Google accepts nothing.
    "a welcome": (Reply(200, b"<html>Welcome to this network</html>"), later("unreadable", 200)),
    "a larger body": (Reply(413, b"too large"), refused("HTTP", 413)),
    "a word of nobody": (error(418, "NOBODY", "?", code="NOBODY"), refused("HTTP", 418)),
    "no object": (Reply(400, b"[[[]]]"), refused("HTTP")),
    "a strange object": (Reply(400, b'{"error": {"details": {"@type": 1}, "status": []}}'), refused("HTTP")),
}


@pytest.mark.parametrize(("reply", "result"), _ANSWERS.values(), ids=_ANSWERS)
async def test_each_answer_means_one_thing(
    google: Google, fcm: FcmSender, reply: Reply, result: Result
) -> None:
    answering(google, reply)
    assert await fcm.send(target(), push()) == result
    assert len(google.asked) == 1, "it is the caller's to try again"


async def test_a_dead_token_is_gone_and_others_are_served(google: Google, fcm: FcmSender) -> None:
    google.dead.add("dead")
    dead, alive = await asyncio.gather(fcm.send(target("dead"), push()), fcm.send(target("alive"), push()))
    assert (dead.outcome, alive.outcome) == (Outcome.GONE, Outcome.ACCEPTED)


@pytest.mark.parametrize(("status", "code"), [(403, "SENDER_ID_MISMATCH"), (401, "THIRD_PARTY_AUTH_ERROR")])
async def test_a_token_of_another_project_says_nothing_against_credentials_that_were_good(
    google: Google, fcm: FcmSender, status: int, code: str
) -> None:
    mismatch = error(status, "PERMISSION_DENIED", "SenderId mismatch", code=code)
    answering(google, mismatch, None, mismatch)

    before = await fcm.send(target("foreign"), push())
    assert (await fcm.send(target(), push())).outcome is Outcome.ACCEPTED
    behind = await fcm.send(target("foreign"), push())

    assert before == Result(Outcome.MISCONFIGURED, code, status, of_app=True)
    assert behind == Result(Outcome.REFUSED, code, status)
    assert google.given == 1, "this 401 is not about the access token"


# -- many, and connections ---------------------------------------------------------------------------------------------------


async def test_many_at_once_share_one_connection_and_one_token(google: Google, fcm: FcmSender) -> None:
    enough = asyncio.Event()

    async def together(_: Sent) -> None:
        if len(google.asked) == 200:
            enough.set()
        await enough.wait()

    google.answer = together
    results = await asyncio.gather(*(fcm.send(target(f"t{n}"), push()) for n in range(500)))

    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert sorted(sent.token for sent in google.sent) == sorted(f"t{n}" for n in range(500))
    assert google.given == 1
    assert google.server.opened == 2  # for tokens, for messages
    assert max(connection.most_open for connection in google.server.connections) == 200


async def test_a_connection_lost_behind_a_send_is_tried_later_with_the_same_id(
    google: Google, fcm: FcmSender
) -> None:
    """FCM may have taken it: the id in the data and the collapse key make the device show it once."""
    await fcm.send(target(), push())

    async def take_and_cut(sent: Sent) -> Cut | None:
        google.answer = None
        google.accept(sent)
        return Cut()

    google.answer = take_and_cut
    sent = push()
    first = await fcm.send(target(), sent)
    again = await fcm.send(target(), sent)

    assert (first.outcome, first.status, first.of_app) == (Outcome.LATER, 0, True)
    assert again.outcome is Outcome.ACCEPTED
    once, twice = google.sent[1:]
    assert once == twice
    assert once.data["id"] == sent.id


async def test_what_google_answers_behind_its_goaway_counts(google: Google, fcm: FcmSender) -> None:
    accepted = Reply(200, b'{"name": "projects/p/messages/1"}')
    answering(google, GoAway(accepted), None)

    results = [await fcm.send(target(f"t{n}"), push()) for n in range(3)]

    assert [result.outcome for result in results] == [Outcome.ACCEPTED] * 3
    assert [sent.token for sent in google.asked] == ["t0", "t1", "t2"], "nothing is sent twice"


async def test_a_server_that_is_silent_is_given_up(google: Google, hasty: FcmSender) -> None:
    async def silent(_: Sent) -> Reply:
        return await never()

    google.answer = silent
    result = await hasty.send(target(), push())
    assert (result.outcome, result.status, result.of_app) == (Outcome.LATER, 0, True)

    google.answer = None
    assert (await hasty.send(target(), push())).outcome is Outcome.ACCEPTED


async def test_a_slow_answer_does_not_hold_up_others(google: Google, fcm: FcmSender) -> None:
    going_on = asyncio.Event()

    async def slow(sent: Sent) -> None:
        if sent.token == "slow":
            await going_on.wait()

    google.answer = slow
    waiting = asyncio.create_task(fcm.send(target("slow"), push()))
    await until(lambda: google.asked, "the slow one was asked for")
    assert (await fcm.send(target("quick"), push())).outcome is Outcome.ACCEPTED
    assert not waiting.done()
    going_on.set()
    assert (await waiting).outcome is Outcome.ACCEPTED


async def test_a_server_that_is_away_is_found_again(google: Google, fcm: FcmSender) -> None:
    await fcm.send(target(), push())
    await google.server.stop()
    away = await fcm.send(target(), push())
    assert (away.outcome, away.of_app) == (Outcome.LATER, True)

    await google.server.start()
    assert (await fcm.send(target(), push())).outcome is Outcome.ACCEPTED


async def test_nobody_else_is_taken_for_google(google: Google, right: dict[str, str]) -> None:
    """The twin has the authority's certificate: every other test."""
    del right["ca_file"]
    sender = made(right)
    result = await sender.send(target(), push())
    await sender.close()
    assert (result.outcome, google.given) == (Outcome.LATER, 0)


# -- options -----------------------------------------------------------------------------------------------------------------


async def test_credentials_may_be_in_a_file(right: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(right.pop("credentials"))
    inside = right | {"credentials_file": str(file), "url": right["url"] + "/"}
    [sender] = open_senders({"android": PushApp("android", "fcm", inside)}).values()
    result = await sender.send(target(), push())
    await sender.close()
    assert (sender.provider, result.outcome) == ("fcm", Outcome.ACCEPTED)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"credentials": ""}, "credentials_file or credentials"),
        ({"credentials": "{"}, "not JSON"),
        ({"credentials": "[]"}, "service account"),
        ({"credentials": '{"type": "authorized_user"}'}, "service account"),
        ({"credentials_file": "/nowhere"}, "cannot be read"),
        ({"ca_file": "/nowhere"}, "ca_file"),
        ({"url": "http://127.0.0.1"}, "https"),
    ],
)
async def test_options_that_do_not_serve_are_told(
    right: dict[str, str], other: dict[str, str], says: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        made(right | other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project_id", None),
        ("client_email", ""),
        ("private_key", "-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----\n"),
        ("token_uri", "http://127.0.0.1/token"),
    ],
)
async def test_no_error_of_credentials_shows_the_key(
    service: tuple[Google, Path], name: str, value: str | None
) -> None:
    with pytest.raises(ImproperlyConfigured, match=name) as raised:
        made(options(*service, **{name: value}))
    assert "secret" not in str(raised.value)
    assert "BEGIN" not in str(raised.value)
    assert raised.value.__cause__ is None
