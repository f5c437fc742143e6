"""Devices with keys, and what a test of /keys asks."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from accounts.models import Account
from accounts.services.devices import link_device
from accounts.services.sessions import start_session
from tests.accounts.conftest import Person, new_number
from tests.support.signal_keys import IdentityPair, keys
from whatsapp.infra.clock import now_ms

#: What happens behind a commit, or in several transactions at once.
committed = pytest.mark.django_db(transaction=True)


def someone(phone: str = "") -> Person:
    """A person on a new device, without the way through a text message."""
    phone, now = phone or new_number(), now_ms()
    with transaction.atomic():
        account, _ = Account.objects.get_or_create(phone=phone)
        device = link_device(account=account, name="phone", registration_id=None, now=now)
        tokens = start_session(device=device, now=now)
    return Person(phone, tokens.user_id, tokens.device_id, tokens.token, tokens.refresh_token)


def with_keys(phone: str = "", **counts: Any) -> tuple[Person, IdentityPair, dict[str, Any]]:
    """Somebody who has left keys."""
    person, pair = someone(phone), IdentityPair()
    body = keys(pair, **counts)
    assert person.api.post("/keys", body).status_code == 204
    return person, pair, body


def fetched(caller: Person, user: Person, query: str = "") -> list[dict[str, Any]]:
    answer = caller.api.get(f"/keys/{user.user_id}{query}")
    assert answer.status_code == 200, answer.content
    devices: list[dict[str, Any]] = answer.json()["devices"]
    return devices


def counted(person: Person) -> tuple[int, int]:
    answer = person.api.get("/keys/count").json()
    return answer["preKeys"], answer["pqPreKeys"]


def ids(body: dict[str, Any], field: str) -> list[int]:
    return [one["keyId"] for one in body[field]]
