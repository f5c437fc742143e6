"""Who we are to push services: keys as they are set, and the tokens that they sign (RFC 8292)."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import call_command

from notifications import vapid
from notifications.senders.interface import PushApp

KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = "mailto:operations@example.org"
HOUR = 3_600


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def claims(header: str, key: str = vapid.public_text(KEY)) -> dict[str, Any]:
    """As a push service reads it: the token is signed by the key beside it."""
    scheme, _, rest = header.partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    assert (scheme, parts["k"]) == ("vapid", key)
    point = base64.urlsafe_b64decode(parts["k"] + "=")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    unchecked = {"verify_aud": False, "verify_exp": False}
    found: dict[str, Any] = jwt.decode(parts["t"], public, algorithms=["ES256"], options=unchecked)
    return found


@pytest.mark.parametrize("written", ["raw", "padded", "PEM", "PEM in one line", "file of PEM", "file of raw"])
def test_a_key_is_read_however_it_is_set(written: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    text = vapid.private_text(KEY)
    file.write_text(pem(KEY) if written == "file of PEM" else text + "\n")
    options = {
        "raw": {"private_key": text},
        "padded": {"private_key": text + "="},
        "PEM": {"private_key": pem(KEY)},
        "PEM in one line": {"private_key": pem(KEY).replace("\n", "\\n")},
    }.get(written, {"key_file": str(file)})
    assert vapid.public_key_of(PushApp("web", "webpush", options)) == vapid.public_text(KEY)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"private_key": ""},
        {"private_key": "nothing"},
        {"private_key": "ä"},
        {"private_key": "A" * 43},  # zero
        {"private_key": base64.urlsafe_b64encode(bytes([255]) * 32).decode()},  # above the curve's order
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"},
        {"private_key": pem(ec.generate_private_key(ec.SECP384R1()))},
        {"private_key": pem(rsa.generate_private_key(65537, 2048))},
        {"key_file": "/nonexistent/key"},
        {"key_file": os.devnull},
    ],
)
def test_what_is_no_key_is_said_without_showing_it(options: dict[str, str]) -> None:
    with pytest.raises(vapid.BadVapid) as refused:
        vapid.private_key_of(options)
    assert not any(value and value in str(refused.value) for value in options.values())
    assert refused.value.__cause__ is None
    assert vapid.public_key_of(PushApp("web", "webpush", options)) == ""


@pytest.mark.parametrize(
    "subject", ["", "operations@example.org", "mailto:", "http://example.org", "mailto:a@b c"]
)
def test_a_subject_that_nobody_can_write_to_is_refused(subject: str) -> None:
    with pytest.raises(vapid.BadVapid):
        vapid.Vapid(KEY, subject)


def test_a_token_is_for_one_origin_and_kept_for_half_of_its_life() -> None:
    now = [1_800_000_000]
    ours = vapid.Vapid(KEY, SUBJECT, lambda: now[0] * 1_000)
    first = ours.authorization("https://push.example")
    assert claims(first) == {"aud": "https://push.example", "exp": now[0] + 12 * HOUR, "sub": SUBJECT}
    other = ours.authorization("https://push.example:8443")
    assert claims(other)["aud"] == "https://push.example:8443"

    now[0] += 6 * HOUR - 1
    assert ours.authorization("https://push.example") == first
    now[0] += 1
    second = ours.authorization("https://push.example")
    assert claims(second)["exp"] == now[0] + 12 * HOUR

    ours.forget("https://push.example")
    assert ours.authorization("https://push.example") != second  # ES256 signs with a random number
    assert ours.authorization("https://push.example:8443") != other


def test_a_clock_that_is_set_back_makes_no_token_that_lasts_too_long() -> None:
    now = [1_800_000_000]
    ours = vapid.Vapid(KEY, SUBJECT, lambda: now[0] * 1_000)
    ours.authorization("https://push.example")
    now[0] -= 24 * HOUR
    assert claims(ours.authorization("https://push.example"))["exp"] == now[0] + 12 * HOUR


def test_the_tokens_of_many_origins_are_not_kept_for_ever() -> None:
    ours = vapid.Vapid(KEY, SUBJECT)
    first = ours.authorization("https://0.example")
    for n in range(1, 1_000):
        ours.authorization(f"https://{n}.example")
    assert len(ours._tokens) <= 256
    assert ours.authorization("https://0.example") != first


def test_the_command_makes_a_key_that_can_be_set() -> None:
    said = [io.StringIO(), io.StringIO()]
    for out in said:
        call_command("push_vapid_key", stdout=out)
    private, public = (
        line.split("=" if n == 0 else ": ")[1] for n, line in enumerate(said[0].getvalue().splitlines())
    )
    assert vapid.public_key_of(PushApp("web", "webpush", {"private_key": private})) == public
    assert said[0].getvalue() != said[1].getvalue()
