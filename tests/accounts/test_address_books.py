"""POST /contacts/sync and what of an address book reaches the other devices."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection

from accounts import tasks
from accounts.models import Account, Contact, LimitHit
from accounts.retention import REMOVED_KEPT_MS
from accounts.services import contacts as contacts_service
from tests.accounts.conftest import Api, Person, assert_problem, new_number, parallel, sign_in
from tests.accounts.test_recycling import silent

pytestmark = pytest.mark.django_db
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def hashed(phone: str) -> str:
    """As a client makes it."""
    return base64.b64encode(hashlib.sha256(phone.encode()).digest()).decode()


def sync(person: Person, phones: Sequence[str]) -> Any:
    return person.api.post("/contacts/sync", {"hashes": [hashed(phone) for phone in phones]})


def neighbours(count: int) -> list[str]:
    """Accounts whose numbers differ in their last four digits only."""
    block = new_number()[:-4]
    phones = [f"{block}{number:04}" for number in range(count)]
    Account.objects.filter(phone__in=phones).delete()
    for phone in phones:
        Account.objects.create(phone=phone)
    return phones


@pytest.fixture(autouse=True)
def often(limits: Any) -> None:
    limits(contact_syncs_per_hour=1_000)


def test_everybody_of_an_address_book_who_is_here_becomes_a_contact() -> None:
    person, ann, bob = sign_in(), sign_in(), sign_in()
    ann.api.patch("/me", {"name": "Ann", "about": "here"})
    answer = sync(person, [ann.phone, bob.phone, new_number(), person.phone])
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["userId"] for item in items] == sorted([ann.user_id, bob.user_id])
    found = next(item for item in items if item["userId"] == ann.user_id)
    assert (found["hash"], found["name"], found["about"], found["nickname"]) == (
        hashed(ann.phone),
        "Ann",
        "here",
        "",
    )
    listed = person.api.get("/contacts").json()["items"]
    assert [{**item, "hash": hashed(p)} for item, p in zip(listed, by_id(ann, bob), strict=True)] == items
    assert ann.api.get("/contacts").json() == {"items": []}, "it goes one way"


def by_id(*people: Person) -> list[str]:
    return [person.phone for person in sorted(people, key=lambda one: one.user_id)]


def test_again_it_finds_the_same_and_keeps_nicknames() -> None:
    person, ann = sign_in(), sign_in()
    person.api.put(f"/contacts/{ann.user_id}", {"nickname": "Annie"})
    sync(person, [ann.phone])
    before = person.api.get("/contacts").json()["items"]
    (item,) = sync(person, [ann.phone]).json()["items"]
    assert item["nickname"] == "Annie"
    assert person.api.get("/contacts").json()["items"] == before, "nothing changed, so nothing is newer"


def test_hashes_that_find_nobody_are_not_kept() -> None:
    person, phone = sign_in(), new_number()
    sync(person, [phone])
    wanted = hashlib.sha256(phone.encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND data_type = 'bytea'"
        )
        for table, column in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE "{column}" = %s', [wanted])
            assert cursor.fetchone() == (0,), table


@pytest.mark.parametrize(
    "hashes",
    [
        None,
        "x",
        [1],
        [""],
        ["zz"],
        [base64.b64encode(b"short").decode()],
        [base64.b64encode(bytes(33)).decode()],
        [hashlib.sha256(b"+1").hexdigest()],
        [base64.b64encode(bytes(32)).decode()] * 10_001,
    ],
)
def test_what_are_no_hashes_are_refused(hashes: Any) -> None:
    problem = assert_problem(sign_in().api.post("/contacts/sync", {"hashes": hashes}), "bad_request", 400)
    assert problem["details"]["field"].startswith("hashes")


def test_a_whole_address_book_fits_in_a_body() -> None:
    hashes = [base64.b64encode(number.to_bytes(32)).decode() for number in range(10_000)]
    assert len(json.dumps({"hashes": hashes})) < 1_000_000
    assert sign_in().api.post("/contacts/sync", {"hashes": hashes}).json() == {"items": []}


def test_once_an_hour(limits: Any, clock: Any) -> None:
    limits(contact_syncs_per_hour=1)
    person, ann = sign_in(), sign_in()
    assert sync(person, []).status_code == 200
    problem = assert_problem(sync(person, [ann.phone]), "rate_limited", 429)
    assert 0 < problem["retryAfterMs"] <= HOUR_MS
    clock(HOUR_MS)
    assert (
        len(sync(Person(person.phone, "", "", sign_in(person.phone).token, ""), [ann.phone]).json()["items"])
        == 1
    )


def test_a_repeat_with_its_key_is_not_a_second_one(limits: Any) -> None:
    limits(contact_syncs_per_hour=1)
    person, ann = sign_in(), sign_in()
    body, key = {"hashes": [hashed(ann.phone)]}, {"X-Idempotency-Key": "one"}
    first = person.api.post("/contacts/sync", body, headers=key)
    assert person.api.post("/contacts/sync", body, headers=key).json() == first.json()


def test_what_is_asked_in_a_day_is_limited(limits: Any) -> None:
    limits(contact_hashes_per_day=300)
    person = sign_in()
    assert sync(person, [f"+1{number}" for number in range(200)]).status_code == 200
    assert sync(person, ["+1", "+2"]).status_code == 200
    assert_problem(sync(person, ["+1"]), "rate_limited", 429)
    assert LimitHit.objects.filter(scope="contact_hashes_day").count() <= 3, "counted in lots"


@pytest.mark.parametrize("name", ["contacts_found_per_day", "contacts_of_a_block_per_day"])
def test_who_is_found_in_a_day_is_limited_and_nobody_is_told_above_it(
    name: str, limits: Any, clock: Any
) -> None:
    limits(**{name: 5})
    person, phones = sign_in(), neighbours(8)
    assert len(sync(person, phones[:3]).json()["items"]) == 3
    assert_problem(sync(person, phones), "rate_limited", 429)
    assert len(person.api.get("/contacts").json()["items"]) == 3, "and nobody was added"
    assert len(sync(person, phones[:5]).json()["items"]) == 5, "those who are contacts count once"
    clock(DAY_MS)
    person = Person(person.phone, "", "", sign_in(person.phone).token, "")
    assert len(sync(person, phones).json()["items"]) == 8


def test_removing_and_finding_again_counts(limits: Any) -> None:
    """Or a list of contacts would be a window that moves over the numbers."""
    limits(contacts_found_per_day=2)
    person, ann = sign_in(), sign_in()
    for _ in range(2):
        assert sync(person, [ann.phone]).status_code == 200
        person.api.delete(f"/contacts/{ann.user_id}")
    assert_problem(sync(person, [ann.phone]), "rate_limited", 429)


@pytest.mark.django_db(transaction=True)
def test_parallel_syncs_do_not_pass_the_limits(limits: Any) -> None:
    limits(contacts_found_per_day=3)
    person, others = sign_in(), [sign_in() for _ in range(6)]
    turns = iter(others)
    statuses = parallel(6, lambda: sync(person, [next(turns).phone]).status_code)
    assert (statuses.count(200), statuses.count(429)) == (3, 3)
    assert len(person.api.get("/contacts").json()["items"]) == 3


def test_an_address_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.services.address_book.MAX_CONTACTS", 2)
    person, others = sign_in(), [sign_in() for _ in range(3)]
    problem = assert_problem(sync(person, [other.phone for other in others]), "limit_exceeded", 409)
    assert problem["details"] == {"limit": contacts_service.MAX_CONTACTS}
    assert person.api.get("/contacts").json() == {"items": []}


# -- changes since ----------------------------------------------------------------------------------------------------------


def test_other_devices_learn_of_removals() -> None:
    person, ann, bob = sign_in(), sign_in(), sign_in()
    sync(person, [ann.phone, bob.phone])
    since = Contact.objects.filter(owner_id=person.user_id).first().updated_at - 1  # type: ignore[union-attr]
    person.api.put(f"/contacts/{ann.user_id}", {"nickname": "secret name"})
    person.api.delete(f"/contacts/{ann.user_id}")
    changed = {item["userId"]: item for item in person.api.get(f"/contacts?since={since}").json()["items"]}
    assert changed[ann.user_id]["removed"] is True
    assert changed[ann.user_id]["nickname"] == ""
    assert "removed" not in changed[bob.user_id]
    assert [item["userId"] for item in person.api.get("/contacts").json()["items"]] == [bob.user_id]


def test_who_is_added_again_is_a_contact_again() -> None:
    person, ann = sign_in(), sign_in()
    for add in (
        lambda: person.api.post("/contacts", {"phoneNumber": ann.phone}),
        lambda: person.api.put(f"/contacts/{ann.user_id}", {}),
        lambda: sync(person, [ann.phone]),
    ):
        assert add().status_code == 200
        (item,) = person.api.get("/contacts").json()["items"]
        assert item["userId"] == ann.user_id
        assert "removed" not in item
        person.api.delete(f"/contacts/{ann.user_id}")


def test_removals_are_forgotten_after_a_while(clock: Any) -> None:
    person, ann = sign_in(), sign_in()
    sync(person, [ann.phone])
    person.api.delete(f"/contacts/{ann.user_id}")
    tasks.prune()
    assert Contact.objects.filter(owner_id=person.user_id).count() == 1
    clock(REMOVED_KEPT_MS)
    tasks.prune()
    assert Contact.objects.filter(owner_id=person.user_id).count() == 0


def test_an_account_that_ended_leaves_all_address_books_and_their_owners_are_told(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    old, friend, other = sign_in(), sign_in(), sign_in()
    friend.api.put(f"/contacts/{old.user_id}", {"nickname": "Ann"})
    since = Contact.objects.get(owner_id=friend.user_id).updated_at - 1
    heard, unheard = told(friend.user_id), told(other.user_id)
    silent(old)
    with django_capture_on_commit_callbacks(execute=True):
        new = sign_in(old.phone)
    assert heard() == [{"type": "notice", "kind": "contact_deleted", "data": {"userId": old.user_id}}]
    assert unheard() == []
    (gone,) = friend.api.get(f"/contacts?since={since}").json()["items"]
    assert (gone["userId"], gone["removed"], gone["name"]) == (old.user_id, True, "")
    assert friend.api.get("/contacts").json() == {"items": []}
    # The number's hash leads to the newcomer now, and to nobody else.
    (found,) = sync(other, [old.phone]).json()["items"]
    assert found["userId"] == new.user_id


def test_a_token_is_needed() -> None:
    assert_problem(Api().post("/contacts/sync", {"hashes": []}), "unauthenticated", 401)
