"""The client library against the guards of a running server."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.accounts.conftest import messages_to, new_number
from whatsapp.infra.limits import LIMITS
from whatsapp_client import CaptchaRequired, Forbidden, Rest, proof
from whatsapp_terminal.explain import explain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def always(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REGISTRATION_CHALLENGE = "always"
    monkeypatch.setattr(LIMITS, "work_bits", 10)


@pytest.mark.usefixtures("always")
def test_the_client_does_the_work_by_itself(live_server: Any) -> None:
    phone = new_number()
    answer = asyncio.run(Rest(live_server.url).register(phone))
    assert answer["expiresAt"] > 0
    assert len(messages_to(phone)) == 1


@pytest.mark.usefixtures("always")
def test_a_captcha_is_passed_on(live_server: Any, settings: Any) -> None:
    settings.REGISTRATION_CAPTCHA = "accounts.guards.captcha.SiteVerify"
    settings.CAPTCHA_SITE_KEY = "site"
    with pytest.raises(CaptchaRequired) as raised:
        asyncio.run(Rest(live_server.url).register(new_number()))
    assert (raised.value.provider, raised.value.site_key) == ("turnstile", "site")
    assert "person" in explain(raised.value)


@pytest.mark.parametrize(
    "challenge",
    [
        None,
        {"kind": "proof_of_work", "algorithm": "sha256", "seed": "s", "bits": 60},
        {"kind": "proof_of_work", "algorithm": "sha256", "seed": "s", "bits": "8"},
        {"kind": "proof_of_work", "algorithm": "scrypt", "seed": "s", "bits": 8},
        {"kind": "song"},
    ],
)
def test_a_server_that_asks_for_too_much_gets_nothing(challenge: Any) -> None:
    refusal = Forbidden(403, "forbidden", "", details={"challenge": challenge})
    with pytest.raises(Forbidden) as raised:
        asyncio.run(proof.answer(refusal))
    assert raised.value is refusal


def test_work_ends_when_nobody_waits_for_it() -> None:
    left = threading.Event()
    left.set()
    assert proof.solve("seed", 200, left) == ""
