"""The library sets where its device is notified."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from whatsapp_client import Client, Rest, RestError, Session, SmsFile, sign_up

PHONE = "+15550031"
TOKEN = "0123456789abcdef" * 4


async def test_a_device_is_set_and_cleared(own_stack: Any) -> None:
    env = {"PUSH_APPS": "ios,android", "PUSH_IOS_PROVIDER": "apns", "PUSH_ANDROID_PROVIDER": "fcm"}
    stack = own_stack(gateways=1, worker=False, env=env)
    code = SmsFile(stack.data / "sms.jsonl", PHONE).code
    session: Session = await sign_up(Rest(stack.http), PHONE, code, device_name="phone")
    client = Client(stack.http, session)
    assert await client.push_apps() == [
        {"app": "ios", "provider": "apns"},
        {"app": "android", "provider": "fcm"},
    ]
    point = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    quiet = ("22:00", "07:00", "Europe/Berlin")
    shown = await client.set_push("ios", TOKEN, keys=(point, bytes(16)), preview=False, quiet=quiet)
    assert (shown["deviceId"], shown["app"], shown["token"]) == (session.device_id, "ios", "…abcdef")
    assert (shown["encrypted"], shown["preview"]) == (True, False)
    assert shown["quietHours"] == {"from": "22:00", "until": "07:00", "timeZone": "Europe/Berlin"}
    shown = await client.set_push("android", "a-registration-token")
    assert (shown["app"], shown["encrypted"], shown["preview"], shown["quietHours"]) == (
        "android",
        False,
        True,
        None,
    )
    with pytest.raises(RestError) as refused:
        await client.set_push("ios", "no token")
    assert (refused.value.code, refused.value.details) == ("bad_request", {"field": "token"})
    await client.clear_push()
    await client.clear_push()
