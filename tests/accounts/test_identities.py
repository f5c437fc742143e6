"""Another identity key of an account: who may change it, and who is told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import tasks
from accounts.models import Identity, IdentityNews
from accounts.services import identities
from tests.accounts.conftest import Person, assert_problem, new_number, parallel
from tests.accounts.prekeys import committed, fetched, someone, with_keys
from tests.support.signal_keys import IdentityPair, keys, text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("enqueued")]


def change_identity(person: Person) -> IdentityPair:
    pair = IdentityPair()
    assert person.api.post("/keys", keys(pair)).status_code == 204
    return pair


@committed
def test_only_the_primary_changes_the_identity_and_the_others_keys_go(
    told: Any, enqueued: list[Any], lists_changed: list[str]
) -> None:
    phone = new_number()
    first, pair, _ = with_keys(phone, classic=1)
    second = someone(phone)
    problem = assert_problem(second.api.post("/keys", keys(IdentityPair())), "conflict", 409)
    assert problem["details"] == {"field": "identityKey"}
    assert second.api.post("/keys", keys(pair, classic=1)).status_code == 204
    heard = told(first.user_id)
    lists_changed.clear()
    new = change_identity(first)
    assert lists_changed
    assert enqueued == [tasks.tell_identities], "at once, and not only by the schedule"
    tasks.tell_identities()
    assert [event["data"]["userId"] for event in heard() if event.get("kind") == "identity_changed"] == [
        first.user_id
    ], "the user's own devices are told too"
    (bundle,) = fetched(someone(), first)
    assert (bundle["deviceId"], bundle["identityKey"]) == (first.device_id, text(new.public))
    assert "preKey" not in bundle
    assert second.api.post("/keys", keys(new, classic=1)).status_code == 204
    assert len(fetched(someone(), first)) == 2


@committed
def test_who_knows_the_user_is_told_and_nobody_else_and_once(told: Any) -> None:
    bob, _, _ = with_keys()
    friend, peer, known, stranger, blocker, former = (someone() for _ in range(6))
    friend.api.put(f"/contacts/{bob.user_id}", {})
    peer.api.put(f"/conversations/direct/{bob.user_id}", {})
    bob.api.put(f"/contacts/{known.user_id}", {})
    former.api.put(f"/contacts/{bob.user_id}", {})
    former.api.delete(f"/contacts/{bob.user_id}")
    blocker.api.put(f"/contacts/{bob.user_id}", {})
    blocker.api.put(f"/blocks/{bob.user_id}")
    people = (friend, peer, known, stranger, blocker, former)
    heard = [told(person.user_id) for person in people]
    change_identity(bob)
    for _ in range(2):
        tasks.tell_identities()
    got = [[event["data"] for event in read() if event.get("kind") == "identity_changed"] for read in heard]
    assert [len(data) for data in got] == [1, 1, 0, 0, 0, 0]
    assert got[0][0]["userId"] == bob.user_id


def test_the_first_key_and_the_same_key_are_no_change() -> None:
    bob, pair, _ = with_keys()
    assert bob.api.post("/keys", keys(pair)).status_code == 204
    assert Identity.objects.get(pk=bob.user_id).changed_at == 0
    tasks.tell_identities()
    assert not IdentityNews.objects.filter(about=bob.user_id).exists()


def test_changes_are_limited(limits: Any) -> None:
    limits(identity_changes_per_day=2)
    bob, _, _ = with_keys()
    change_identity(bob)
    last = change_identity(bob)
    assert_problem(bob.api.post("/keys", keys(IdentityPair())), "rate_limited", 429)
    assert bob.api.post("/keys", keys(last)).status_code == 204


def test_a_task_that_dies_between_batches_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 2)
    bob, _, _ = with_keys()
    friends = [someone() for _ in range(5)]
    for friend in friends:
        friend.api.put(f"/contacts/{bob.user_id}", {})
    change_identity(bob)
    monkeypatch.setattr(identities, "MAX_BATCHES", 1)
    tasks.tell_identities()
    assert IdentityNews.objects.filter(about=bob.user_id).count() == 2
    monkeypatch.setattr(identities, "MAX_BATCHES", 9)
    tasks.tell_identities()
    told = IdentityNews.objects.filter(about=bob.user_id).values_list("user_id", flat=True)
    assert {str(user) for user in told} == {bob.user_id, *(friend.user_id for friend in friends)}
    first = IdentityNews.objects.get(user=friends[0].user_id).at
    change_identity(bob)
    tasks.tell_identities()
    assert IdentityNews.objects.get(user=friends[0].user_id).at > first, "a second change is told again"


def test_somebody_whom_very_many_know_does_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 1)
    monkeypatch.setattr(identities, "MAX_BATCHES", 4)
    star, bob, friend = with_keys()[0], with_keys()[0], someone()
    for fan in [friend, *(someone() for _ in range(5))]:
        fan.api.put(f"/contacts/{star.user_id}", {})
    friend.api.put(f"/contacts/{bob.user_id}", {})
    for person in (star, bob):
        change_identity(person)
    tasks.tell_identities()
    assert IdentityNews.objects.filter(about=bob.user_id).count() == 2
    assert IdentityNews.objects.filter(about=star.user_id).count() == 2


def test_each_batch_costs_the_same_however_many_know_the_user() -> None:
    star = with_keys()[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_account (id, region, created_at, name, about, language)"
            " SELECT gen_random_uuid(), 0, 1, '', '', '' FROM generate_series(1, 20000)"
        )
        # One in ten knows the user, and everybody somebody else.
        cursor.execute(
            "INSERT INTO accounts_contact (owner_id, user_id, nickname, updated_at, removed)"
            " SELECT id, (SELECT id FROM accounts_account WHERE region = 0 AND created_at = 1 LIMIT 1), '', 1, false"
            " FROM accounts_account WHERE created_at = 1 UNION ALL"
            " SELECT id, %s, '', 1, false FROM accounts_account WHERE created_at = 1 AND id::text LIKE '%%5'",
            [star.user_id],
        )
        cursor.execute("ANALYZE accounts_contact")
    change_identity(star)
    with CaptureQueriesContext(connection) as captured:
        identities._tell_batch(uuid.UUID(star.user_id))
    (query,) = [
        one["sql"] for one in captured if one["sql"].startswith('SELECT "accounts_contact"."owner_id"')
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}")
        plan = cursor.fetchone()[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 3 * identities.BATCH, plan
    assert "Sort" not in str(plan), plan


@committed
def test_two_tasks_at_once_tell_each_once(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 2)
    bob, _, _ = with_keys()
    friends = [someone() for _ in range(4)]
    for friend in friends:
        friend.api.put(f"/contacts/{bob.user_id}", {})
    heard = [told(friend.user_id) for friend in friends]
    change_identity(bob)
    parallel(3, tasks.tell_identities)
    tasks.tell_identities()
    assert [
        len([event for event in read() if event.get("kind") == "identity_changed"]) for read in heard
    ] == [1] * 4
