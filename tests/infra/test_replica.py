"""Reads that decide nothing come from a real standby, when it has what was written; everything else never does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connections, router
from django.test.utils import CaptureQueriesContext

from accounts.models import Contact
from devtools import ports
from devtools.standby import Standby
from tests.accounts.conftest import (  # noqa: F401 - fixtures
    Person,
    _memory_layer,
    give,
    register,
    sign_in,
    verify,
    wrong,
)
from tests.support import early
from tests.support.servers import Postgres
from tests.support.signal_keys import IdentityPair, keys
from whatsapp.infra import metrics, replica
from whatsapp.settings.databases import database

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def standby(postgres_server: Postgres) -> Iterator[Standby]:
    """A standby of this session's server."""
    folder = early.folder("replica")
    server = Standby(
        folder / "data", name="replica", peers=[postgres_server.server.port], password=early.SECRET,
        log=folder / "log", port=ports.choose(), settings={"max_connections": "200"},
    )  # fmt: skip
    child = server.start()
    yield server
    child.stop()


@pytest.fixture
def on_replica(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, int]]]:
    """The standby is ``REPLICA_URL``. Returns how many scopes each ``server:reason`` has answered since."""
    name = connections["default"].settings_dict["NAME"]
    entry = database(standby.url(name), pool=False, name="REPLICA_URL", reads=True)
    known = dict(connections.settings)
    whole = connections.configure_settings({**settings.DATABASES, replica.ALIAS: entry})
    monkeypatch.setattr(connections, "settings", {**known, replica.ALIAS: whole[replica.ALIAS]})
    monkeypatch.setattr(replica, "_rest_until", 0.0)
    monkeypatch.setattr(replica, "PATIENCE_S", 5.0)  # a busy machine
    wrapper = connections[replica.ALIAS]

    def ensure() -> None:  # Django's tests forbid databases that they were not told of
        if wrapper.connection is None:
            with wrapper.wrap_database_errors:
                wrapper.connect()

    monkeypatch.setattr(wrapper, "ensure_connection", ensure)
    before = dict(metrics.REPLICA.values)

    def counts() -> dict[str, int]:
        return {
            ":".join(labels): int(value - before.get(labels, 0))
            for labels, value in metrics.REPLICA.values.items()
            if value != before.get(labels, 0)
        }

    yield counts
    wrapper.close()
    delattr(connections._connections, replica.ALIAS)


@pytest.fixture
def behind(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Call it to let the standby stand still."""

    def stop() -> None:
        standby.sql("SELECT pg_wal_replay_pause()")
        monkeypatch.setattr(replica, "PATIENCE_S", 0.02)

    yield stop
    standby.sql("SELECT pg_wal_replay_resume()")


def added(person: Person, other: Person) -> bool:
    """Add a contact; is it in the list at once?"""
    answer = person.api.post("/contacts", {"phoneNumber": other.phone})
    assert answer.status_code == 200, answer.content
    return other.user_id in [item["userId"] for item in person.api.get("/contacts").json()["items"]]


def test_a_list_comes_from_the_replica_with_what_was_just_written(on_replica: Any) -> None:
    ann, *others = [sign_in() for _ in range(6)]
    assert all(added(ann, other) for other in others)
    assert on_replica() == {"replica:current": 5}


def test_what_the_replica_has_not_got_yet_comes_from_the_primary(on_replica: Any, behind: Any) -> None:
    ann, bob = sign_in(), sign_in()
    behind()
    assert added(ann, bob)
    assert on_replica() == {"default:behind": 1}


def test_twin_who_does_not_ask_where_the_replica_is_misses_the_own_write(
    on_replica: Any, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_wait", lambda place, timeline: "")
    ann, bob = sign_in(), sign_in()
    behind()
    assert not added(ann, bob)


def test_lists_of_conversations_and_the_badge_too(on_replica: Any) -> None:
    ann, bob = sign_in(), sign_in()
    made = ann.api.put(f"/conversations/direct/{bob.user_id}", {}).json()["conversationId"]
    shown = ann.api.get("/conversations").json()["items"]
    assert [item["conversationId"] for item in shown] == [made]
    assert ann.api.get("/me/badge").json() == {"badge": 0}
    assert on_replica() == {"replica:current": 2}


def test_a_replica_that_is_dead_costs_one_attempt_a_second(
    on_replica: Any, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections[replica.ALIAS].settings_dict, "PORT", str(ports.choose()))
    ann, bob, carl = sign_in(), sign_in(), sign_in()
    assert added(ann, bob)
    assert added(ann, carl)
    assert on_replica() == {"default:away": 1, "default:resting": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((False, True, "00000001"), "no standby"),
        ((True, True, "00000002"), "another history"),
        ((True, True, None), "another history"),  # receives nothing, or does not tell
    ],
)
def test_a_server_that_may_hold_another_history_is_not_read(
    on_replica: Any, monkeypatch: pytest.MonkeyPatch, row: tuple[Any, ...], reason: str
) -> None:
    """After a failover: the promoted standby itself, one that has stayed on the old timeline, one without a primary."""
    values = ", ".join("NULL" if v is None else f"'{v}'" if isinstance(v, str) else str(v) for v in row)
    monkeypatch.setattr(replica, "_THERE", f"SELECT {values} FROM (SELECT %s) AS place")
    ann, bob = sign_in(), sign_in()
    assert added(ann, bob)
    assert on_replica() == {f"default:{reason}": 1}


def test_within_a_transaction_its_own_server_is_read(on_replica: Any) -> None:
    from django.db import transaction

    with transaction.atomic(), replica.reads() as alias:
        assert alias == replica.PRIMARY
        assert router.db_for_read(Contact) == replica.PRIMARY


def test_the_replica_takes_no_write(on_replica: Any) -> None:
    from django.db import InternalError

    with connections[replica.ALIAS].cursor() as cursor, pytest.raises(InternalError, match="read-only"):
        cursor.execute("DELETE FROM accounts_contact")
    assert router.db_for_write(Contact) == replica.PRIMARY


# -- what decides -------------------------------------------------------------------------------------------------------------


def test_only_what_is_listed_may_come_from_the_replica(on_replica: Any) -> None:
    """A model that is new is read from the primary until somebody writes it into the list, and here."""
    with replica.reads() as alias:
        assert alias == replica.ALIAS
        there = {model._meta.label for model in apps.get_models() if router.db_for_read(model) == alias}
    assert there == {"accounts.Contact", "admin.LogEntry", "staff.TaskRun"}
    assert router.db_for_read(Contact) == replica.PRIMARY, "outside a scope nothing does"


def test_what_decides_is_asked_of_the_primary_also_within_a_scope(on_replica: Any) -> None:
    deciding = [
        "accounts.Account", "accounts.Device", "accounts.RefreshToken", "accounts.VerificationCode", "accounts.Block",
        "accounts.Prekey", "accounts.DeviceKeys", "accounts.Pin", "accounts.Privacy", "accounts.DeviceLink",
        "accounts.InstallationBan", "accounts.LimitHit", "accounts.KeptAnswer", "groups.Membership", "groups.Group",
        "groups.Invite", "groups.JoinRequest", "delivery.Member", "delivery.Withheld", "delivery.Device", "auth.User",
    ]  # fmt: skip
    with replica.reads() as alias, CaptureQueriesContext(connections[replica.ALIAS]) as there:
        assert alias == replica.ALIAS
        for label in deciding:
            apps.get_model(label).objects.exists()
    assert [query["sql"] for query in there.captured_queries] == []


def test_everything_that_decides_holds_at_once_beside_a_replica_that_stands_still(
    on_replica: Any, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check of its place off: whatever came from the replica would come from before."""
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: None)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)
    ann, bob, carl = sign_in(), sign_in(), sign_in()
    assert carl.api.post("/keys", keys(IdentityPair(), classic=5)).status_code == 204
    group = ann.api.post("/groups", {"name": "all", "members": [bob.user_id, carl.user_id]}).json()["groupId"]
    behind()
    monkeypatch.setattr(replica, "_wait", lambda place, timeline: "")
    # one-time keys
    given = [ann.api.get(f"/keys/{carl.user_id}").json()["devices"][0]["preKey"]["keyId"] for _ in range(5)]
    assert len(set(given)) == 5
    # membership
    assert ann.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 204
    assert bob.api.get(f"/groups/{group}/members").status_code == 404
    assert bob.user_id not in str(ann.api.get(f"/groups/{group}/members").json())
    # blocks
    assert ann.api.put(f"/blocks/{carl.user_id}").status_code == 204
    assert [item["userId"] for item in ann.api.get("/blocks").json()["items"]] == [carl.user_id]
    # codes: once, and the newest
    assert register(bob.phone).status_code == 202
    assert give(bob.phone, wrong(bob.phone)).status_code == 401
    again = verify(bob.phone)
    assert again.status_code == 200
    # tokens
    refreshed = bob.api.post("/auth/refresh", {"refreshToken": bob.refresh_token})
    assert refreshed.status_code == 200
    assert bob.api.post("/auth/refresh", {"refreshToken": str(uuid.uuid4())}).status_code == 401
    assert bob.api.post("/auth/logout").status_code == 204
    assert bob.api.get("/me").status_code == 401
