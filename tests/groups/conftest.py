"""Groups over HTTP, with the people of the accounts' tests."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from django.db import transaction

from accounts.models import Account
from accounts.services.devices import link_device
from accounts.services.sessions import start_session
from delivery.store.sync import store
from delivery.store.values import Logged, PageRequest
from tests.accounts.conftest import (  # noqa: F401 - fixtures
    Person,
    _memory_layer,
    assert_problem,
    clock,
    limits,
    new_number,
    told,
)
from whatsapp.infra.clock import now_ms


@pytest.fixture(autouse=True)
def room(limits: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Limits of development; what goes to the lanes is dropped, for no worker runs beside these tests."""
    limits(groups_per_hour=100_000, group_changes_per_hour=100_000)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)


def sign_in() -> Person:
    """A person on a new device, without the way over an SMS."""
    account = Account.objects.create(phone=new_number())
    now = now_ms()
    with transaction.atomic():
        device = link_device(account=account, name="phone", registration_id=None, now=now)
        tokens = start_session(device=device, now=now)
    assert account.phone is not None
    return Person(account.phone, str(account.pk), str(device.pk), tokens.token, tokens.refresh_token)


def accounts(number: int) -> list[str]:
    """Ids of people who exist and have no device."""
    made = Account.objects.bulk_create(Account() for _ in range(number))
    return [str(account.pk) for account in made]


def make(creator: Person, *members: Person | str, **fields: Any) -> str:
    ids = [member if isinstance(member, str) else member.user_id for member in members]
    answer = creator.api.post("/groups", {"name": "Sailing", "members": ids, **fields})
    assert answer.status_code == 201, answer.content
    assert set(answer.json()) == {"groupId"}
    return str(answer.json()["groupId"])


def roles(person: Person, group: str) -> dict[str, str]:
    """user → role, over all pages."""
    found: dict[str, str] = {}
    after = ""
    while True:
        answer = person.api.get(f"/groups/{group}/members?limit=400{after}")
        assert answer.status_code == 200, answer.content
        body = answer.json()
        found.update({item["userId"]: item["role"] for item in body["items"]})
        if "next" not in body:
            return found
        after = f"&after={body['next']}"


def owed(user: Person | str, group: str) -> list[Logged]:
    """Everything in the group's log that this user is owed."""
    user = user if isinstance(user, str) else user.user_id
    (page,) = store.pages([PageRequest(group, user, 0, limit=100_000, max_bytes=2**30)])
    return page.events


def said(logged: Logged) -> tuple[str, str, dict[str, Any]]:
    """(kind, actor, what else it says) of an event."""
    return logged.kind, logged.sender, msgspec.msgpack.decode(logged.extra or b"\x80")


def a_member_of_the_engine(group: str) -> set[str]:
    """Who is one now, as the engine has it."""
    known = store.conversations([group])[group]
    return {interval.user for interval in known.members if not interval.left}


def some_id() -> str:
    return str(uuid.uuid4())
