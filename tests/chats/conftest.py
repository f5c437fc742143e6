"""Conversations over HTTP, with the people of the accounts' and the groups' tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from delivery.store import chosen
from delivery.store.sync import store
from tests.accounts.conftest import Person, _memory_layer, clock, limits, told  # noqa: F401 - fixtures
from tests.gateway.conftest import codec  # noqa: F401 - a fixture
from tests.groups.conftest import sign_in


@pytest.fixture(autouse=True)
def room(limits: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Limits of development; what goes to the lanes is dropped, for no worker runs beside these tests."""
    limits(groups_per_hour=100_000, group_changes_per_hour=100_000)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)


@pytest.fixture
def ann() -> Person:
    return sign_in()


@pytest.fixture
def bob() -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person, bob: Person) -> str:
    return open_direct(bob, ann)


def open_direct(person: Person, other: Person, *, strangers: bool = False) -> str:
    """Both accept each other, unless they are to be ``strangers``."""
    answer = person.api.put(f"/conversations/direct/{other.user_id}")
    assert answer.status_code == 200, answer.content
    conversation = str(answer.json()["conversationId"])
    if not strangers:
        for one, who in ((person, other), (other, person)):
            with transaction.atomic():
                store.accept(one.user_id, 1, others=[who.user_id])
    return conversation


def listed(person: Person, conversation: str, query: str = "") -> dict[str, Any] | None:
    """The item of this conversation in the person's list, if it is there."""
    items = person.api.get(f"/conversations?limit=500{query}").json()["items"]
    return next((item for item in items if item["conversationId"] == conversation), None)


@contextlib.contextmanager
def log_elsewhere(node: Any, settings: Any) -> Iterator[str]:
    """The log is on this node of Cassandra, in a keyspace that nobody else uses meanwhile."""
    keyspace = node.lend()
    settings.CASSANDRA_CONTACT_POINTS, settings.CASSANDRA_PORT = [node.host], node.port
    settings.CASSANDRA_KEYSPACE, settings.LOG_STORE = keyspace, "cassandra"
    try:
        yield keyspace
    finally:
        chosen.background.close()
        node.take_back(keyspace)
