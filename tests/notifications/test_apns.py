"""What APNs gets: headers and payloads as Apple's documentation wants them, and nothing that was written in the clear."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.exceptions import ImproperlyConfigured

from devtools.push_servers.apns import Told
from notifications.senders.apns import LARGEST, LARGEST_VOIP
from notifications.senders.interface import Outcome, Urgency
from tests.notifications.apns_app import TOPIC, App, opened, push, target

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
AUTH = bytes(range(16))


def _last(app: App) -> tuple[dict[str, str], dict[str, object]]:
    request = app.apns.requests[-1]
    return request.headers, json.loads(bytes(request.body))


def _read_by_the_app(payload: dict[str, object]) -> bytes:
    sealed = str(payload["sealed"])
    body = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    found: bytes = http_ece.decrypt(body, private_key=KEY, auth_secret=AUTH)
    return found


async def test_a_message_is_an_alert(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        sent, device = push(badge=7), target()
        before = int(time.time())
        result = await app.sender.send(device, sent)
        assert result.outcome is Outcome.ACCEPTED
        assert (result.reason, result.status) == ("", 200)
        headers, payload = _last(app)
    assert payload == {
        "aps": {
            "alert": {"loc-key": "NEW_MESSAGE"},
            "sound": "default",
            "thread-id": sent.collapse,
            "mutable-content": 1,
            "badge": 7,
        }
    }
    assert app.apns.requests[-1].path == f"/3/device/{device.token}"
    assert headers["apns-topic"] == TOPIC
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("alert", "10")
    assert (headers["apns-id"], headers["apns-collapse-id"]) == (sent.id, sent.collapse)
    assert before + 3_600 <= int(headers["apns-expiration"]) <= int(time.time()) + 3_600


async def test_a_call_is_now_or_never(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        assert (await app.sender.send(target(), push(Urgency.CALL, badge=None))).outcome is Outcome.ACCEPTED
        headers, payload = _last(app)
    assert (headers["apns-expiration"], headers["apns-priority"]) == ("0", "10")
    assert headers["apns-push-type"] == "alert"
    assert payload["aps"]["alert"] == {"loc-key": "INCOMING_CALL"}  # type: ignore[index]
    assert "badge" not in payload["aps"]  # type: ignore[operator]


async def test_a_call_rings_by_pushkit_where_the_device_gave_a_token_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, voip_topic=f"{TOPIC}.voip") as app:
        device = target(call_token="c0ffee" * 10)
        assert (await app.sender.send(device, push(Urgency.CALL))).outcome is Outcome.ACCEPTED
        headers, payload = _last(app)
        assert app.apns.requests[-1].path == f"/3/device/{device.call_token}"
        assert (headers["apns-push-type"], headers["apns-topic"]) == ("voip", f"{TOPIC}.voip")
        assert payload == {"aps": {}}
        await app.sender.send(device, push())
        assert app.apns.requests[-1].path == f"/3/device/{device.token}"
        await app.sender.send(target(), push(Urgency.CALL))  # it gave none
        assert _last(app)[0]["apns-push-type"] == "alert"


async def test_a_dead_token_for_calls_is_not_the_end_of_the_device(tmp_path: Path) -> None:
    async with opened(tmp_path, voip_topic=f"{TOPIC}.voip") as app:
        device = target(call_token="c0ffee" * 10)
        app.apns.tokens = {device.token}
        for _ in range(2):  # before and after the topic is known to be right
            assert (await app.sender.send(device, push(Urgency.CALL))).outcome is Outcome.ACCEPTED
            assert app.apns.requests[-1].path == f"/3/device/{device.token}"


async def test_a_badge_alone_makes_no_sound(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await app.sender.send(target(), push(Urgency.SILENT, badge=0))
        headers, payload = _last(app)
        assert payload == {"aps": {"content-available": 1, "badge": 0}}
        assert (headers["apns-push-type"], headers["apns-priority"]) == ("alert", "5")
        result = await app.sender.send(target(), push(Urgency.SILENT, badge=None))
        assert result.outcome is Outcome.ACCEPTED
        headers, payload = _last(app)
        assert payload == {"aps": {"content-available": 1}}
        assert (headers["apns-push-type"], headers["apns-priority"]) == ("background", "5")


@pytest.mark.parametrize("urgency", [Urgency.MESSAGE, Urgency.SILENT, Urgency.CALL])
async def test_what_was_written_is_read_by_the_device_alone(tmp_path: Path, urgency: Urgency) -> None:
    content = json.dumps({"text": "meet me at nine"}).encode()
    async with opened(tmp_path) as app:
        device = target(p256dh=PUBLIC, auth=AUTH)
        await app.sender.send(device, push(urgency, content=content))
        _, payload = _last(app)
        assert _read_by_the_app(payload) == content
        assert b"nine" not in bytes(app.apns.requests[-1].body)
        for keys in ({}, {"p256dh": PUBLIC}, {"p256dh": bytes(65), "auth": AUTH}):  # no way to seal it
            await app.sender.send(target(**keys), push(urgency, content=content))
            assert set(_last(app)[1]) == {"aps"}


@pytest.mark.parametrize(
    ("urgency", "largest"), [(Urgency.MESSAGE, LARGEST), (Urgency.CALL, LARGEST_VOIP)], ids=["alert", "voip"]
)
async def test_content_goes_as_long_as_it_fits(tmp_path: Path, urgency: Urgency, largest: int) -> None:
    sizes = {}
    async with opened(tmp_path, voip_topic=f"{TOPIC}.voip") as app:
        device = target(p256dh=PUBLIC, auth=AUTH, call_token="c0ffee" * 10)
        for length in (0, 1_000, 2_777, 3_900, 6_000):
            sent = push(urgency, badge=99_999, content=b"x" * length)
            assert (await app.sender.send(device, sent)).outcome is Outcome.ACCEPTED
            assert len(app.apns.requests[-1].body) <= largest
            sizes[length] = "sealed" in _last(app)[1]
    assert app.apns.received == 5  # none was refused for its size
    assert sizes == {0: True, 1_000: True, 2_777: True, 3_900: False, 6_000: False}


async def test_a_payload_that_is_still_too_large_goes_once_more_without_content(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        device = target(p256dh=PUBLIC, auth=AUTH)
        app.apns.answers = [Told(413, "PayloadTooLarge")]
        assert (await app.sender.send(device, push(content=b"x"))).outcome is Outcome.ACCEPTED
        assert set(_last(app)[1]) == {"aps"}
        app.apns.answers = [Told(413, "PayloadTooLarge")] * 2
        result = await app.sender.send(device, push(content=b"x"))
        assert (result.outcome, result.reason) == (Outcome.REFUSED, "PayloadTooLarge")
        assert app.apns.received == 4
        app.apns.answers = [Told(413, "PayloadTooLarge")]
        result = await app.sender.send(target(), push())  # there is nothing to leave out
        assert (result.outcome, app.apns.received) == (Outcome.REFUSED, 5)


@pytest.mark.parametrize("token", ["", "../../x", "zz" * 32, "aa" * 101, "aa?b=c"])
async def test_what_is_no_token_never_becomes_an_address(tmp_path: Path, token: str) -> None:
    async with opened(tmp_path) as app:
        result = await app.sender.send(target()._replace(token=token), push())
        assert (result.outcome, result.reason) == (Outcome.GONE, "BadDeviceToken")
        assert app.apns.received == 0


async def test_without_an_address_it_is_apples_of_the_environment(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for options, authority in (
            ({}, "api.push.apple.com"),
            ({"environment": "production"}, "api.push.apple.com"),
            ({"environment": "sandbox"}, "api.sandbox.push.apple.com"),
        ):
            assert app.another(url="", **options)._authority == authority


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ""},
        {"key": "no key"},
        {"key_file": "/nowhere", "key": ""},
        {"key_id": ""},
        {"team_id": ""},
        {"topic": ""},
        {"url": "", "environment": "staging"},
        {"url": "http://127.0.0.1"},
        {"url": "https://127.0.0.1:port"},
        {"ca_file": "/nowhere"},
    ],
    ids=str,
)
async def test_wrong_options_are_named(tmp_path: Path, wrong: dict[str, str]) -> None:
    async with opened(tmp_path) as app:
        with pytest.raises(ImproperlyConfigured, match="ios"):
            app.another(**wrong)


async def test_a_key_may_be_a_file_or_stand_in_one_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        pem = app.options()["key"]
        file = tmp_path / "AuthKey.p8"
        file.write_text(pem)
        for options in ({"key": pem.replace("\n", "\\n")}, {"key": "", "key_file": str(file)}):
            sender = app.another(**options)
            assert (await sender.send(target(), push())).outcome is Outcome.ACCEPTED
            await sender.close()
