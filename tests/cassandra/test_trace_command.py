"""``manage.py trace`` with the log on Cassandra."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from delivery.store import chosen
from delivery.store.values import PositionWrite, ReceiptWrite
from tests.contract.people import T0, new_id, send


@pytest.fixture
def on_cassandra(settings: Any, cassandra_at: tuple[str, int, str]) -> Iterator[None]:
    host, settings.CASSANDRA_PORT, settings.CASSANDRA_KEYSPACE = cassandra_at
    settings.CASSANDRA_CONTACT_POINTS = [host]
    settings.LOG_STORE = "cassandra"
    yield
    chosen.background.close()


def store(name: str, *args: Any) -> Any:
    return chosen.background.ask(lambda store: getattr(store, name)(*args))


@pytest.mark.django_db
@pytest.mark.usefixtures("on_cassandra", "valkey_url")
def test_what_became_of_a_message() -> None:
    alice, bob, phone, tablet, desk, writer = (new_id() for _ in range(6))
    for user, device in ((alice, phone), (bob, tablet), (bob, desk)):
        store("link_device", user, device, T0)
    conversation = store("ensure_direct", alice, bob, new_id(), T0)
    one = send(conversation, alice, phone, body=b"secret")
    row = store("append", writer, [one], T0).row
    store("save", [PositionWrite(tablet, conversation, 1)], [ReceiptWrite(conversation, bob, 1)], T0 + 7)
    store("outbox_done", writer, "an epoch", row, T0 + 3)

    out = StringIO()
    call_command("trace", one.message_id, "--json", stdout=out)
    (found,) = map(json.loads, out.getvalue().splitlines())
    stored = found["stored"]
    assert stored["conversation"] == {"id": conversation, "kind": "direct", "head": 1, "floor": 0}
    assert (stored["append"]["state"], stored["append"]["contentBytes"]) == ("stored", 6)
    assert (stored["outbox"]["state"], stored["outbox"]["row"]) == ("marked", row)
    assert {device["deviceId"]: device["state"] for device in stored["devices"]} == {
        phone: "sender", tablet: "acknowledged", desk: "waiting",
    }  # fmt: skip
    assert {user["userId"]: user["delivered"] for user in stored["users"]} == {alice: False, bob: True}
    assert "secret" not in out.getvalue()

    shown = StringIO()
    call_command("trace", conversation, "--seq", "1", stdout=shown)
    assert one.message_id in shown.getvalue()
    with pytest.raises(CommandError, match="was never stored"):
        call_command("trace", new_id())


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey_url")
def test_without_a_cluster_it_says_so(settings: Any) -> None:
    settings.LOG_STORE, settings.CASSANDRA_CONTACT_POINTS, settings.CASSANDRA_PORT = (
        "cassandra",
        ["127.0.0.1"],
        1,
    )
    try:
        with pytest.raises(CommandError, match="The store cannot be reached"):
            call_command("trace", new_id())
    finally:
        chosen.background.close()
