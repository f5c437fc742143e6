"""PUT /auth/phone: the account moves to another number, and takes everything along."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.limits import DAY_MS
from accounts.models import Account, Contact, Device, LimitHit, VerificationCode
from accounts.services import contacts
from tests.accounts.conftest import (
    Api,
    Person,
    assert_problem,
    at_once,
    code_for,
    new_number,
    register,
    sign_in,
    wrong,
)
from tests.accounts.test_address_books import sync
from tests.accounts.test_conversations import append, open_direct
from tests.accounts.test_pin import PIN, fresh, with_pin
from tests.accounts.test_recycling import silent
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def move(person: Person, phone: str, code: str = "", **fields: Any) -> Any:
    """Ask for a code, unless there is one, and move."""
    if not code:
        register(phone)
    body = {"phoneNumber": phone, "code": code or code_for(phone), **fields}
    return person.api.put("/auth/phone", body)


def numbers_told(read: Any) -> list[dict[str, Any]]:
    return [event["data"] for event in read() if event.get("kind") == "number_changed"]


def test_everything_stays_but_the_number() -> None:
    person, friend = sign_in(), sign_in()
    laptop = sign_in(person.phone)
    old, phone = person.phone, new_number()
    person.api.patch("/me", {"name": "Ann"})
    person.api.put(f"/contacts/{friend.user_id}", {"nickname": "Bob"})
    conversation = open_direct(person, friend)
    append(friend, conversation, "hello")
    group = person.api.post("/groups", {"name": "Sailing", "members": [friend.user_id]}).json()["groupId"]
    before = person.api.get("/me").json()
    answer = move(person, phone)
    assert answer.status_code == 200
    assert answer.json() == {**before, "phoneNumber": phone} == person.api.get("/me").json()
    assert laptop.api.get("/me").json()["phoneNumber"] == phone
    assert len(person.api.get("/devices").json()["items"]) == 2
    assert [item["nickname"] for item in person.api.get("/contacts").json()["items"]] == ["Bob"]
    assert len(person.api.get(f"/conversations/{conversation}/events").json()["items"]) == 1
    assert person.api.get(f"/groups/{group}").json()["groupId"] == group
    assert not VerificationCode.objects.filter(phone=phone).exists(), "the code is used up"
    # The new number leads to it; the old one to nobody, then to whoever registers it.
    assert friend.api.post("/contacts", {"phoneNumber": phone}).json()["userId"] == person.user_id
    assert_problem(friend.api.post("/contacts", {"phoneNumber": old}), "not_found", 404)
    assert sync(friend, [old]).json() == {"items": []}
    assert sign_in(phone, refreshToken=person.refresh_token).device_id == person.device_id
    newcomer = sign_in(old, refreshToken=laptop.refresh_token)
    assert newcomer.user_id != person.user_id
    assert newcomer.api.get("/conversations").json() == {"items": []}
    assert Account.objects.get(pk=person.user_id).phone == phone


def test_a_repeat_changes_nothing_and_needs_no_second_code() -> None:
    person, phone = sign_in(), new_number()
    register(phone)
    code = code_for(phone)
    first, again = move(person, phone, code), move(person, phone, code)
    assert (again.status_code, again.json()) == (200, first.json())
    assert move(person, phone, "000000").status_code == 200
    assert LimitHit.objects.filter(scope="number_changes_day").count() == 1


def test_only_the_primary_device_may_and_others_cannot_even_guess() -> None:
    person = sign_in()
    laptop, phone = sign_in(person.phone), new_number()
    register(phone)
    hits = LimitHit.objects.count()
    assert_problem(move(laptop, phone, code_for(phone)), "forbidden", 403)
    assert_problem(move(laptop, phone, wrong(phone)), "forbidden", 403)
    assert LimitHit.objects.count() == hits
    assert move(person, phone, code_for(phone)).status_code == 200


def test_a_wrong_code_is_no_end_of_the_session_and_counts_like_any_other(limits: Any) -> None:
    limits(code_attempts=2)
    person, phone = sign_in(), new_number()
    register(phone)
    for _ in range(2):
        body = assert_problem(move(person, phone, wrong(phone)), "forbidden", 403)
        assert body["details"] == {"codeWrong": True}
    assert_problem(move(person, phone, code_for(phone)), "rate_limited", 429)
    none_sent = move(person, new_number(), "123456")
    assert assert_problem(none_sent, "forbidden", 403)["details"] == {"codeWrong": True}
    # A code for one's own number does not move it to another one.
    register(person.phone)
    assert_problem(move(person, new_number(), code_for(person.phone)), "forbidden", 403)


def test_the_pin_is_needed_and_guesses_at_it_are_counted(limits: Any) -> None:
    limits(wrong_pins_per_day=1)
    person, phone = with_pin(), new_number()
    register(phone)
    code = code_for(phone)
    body = assert_problem(move(person, phone, code), "forbidden", 403)
    assert body["details"] == {"pinRequired": True}
    assert_problem(move(person, phone, code, pin="314159"), "forbidden", 403)
    assert_problem(move(person, phone, code, pin=PIN), "rate_limited", 429)
    limits(wrong_pins_per_day=2)
    assert move(person, phone, code, pin=PIN).status_code == 200
    # The lock goes along.
    assert_problem(Api().post("/auth/verify", {**_sent(phone), "deviceName": "x"}), "forbidden", 403)
    assert sign_in(phone, pin=PIN).user_id == person.user_id


def _sent(phone: str) -> dict[str, str]:
    register(phone)
    return {"phoneNumber": phone, "code": code_for(phone)}


def test_so_many_a_day(limits: Any, clock: Any) -> None:
    limits(number_changes_per_day=2, code_ttl_ms=3 * DAY_MS)
    person = sign_in()
    for _ in range(2):
        assert move(person, new_number()).status_code == 200
    phone = new_number()
    assert_problem(move(person, phone), "rate_limited", 429)
    clock(DAY_MS)
    fresh(person)
    assert move(person, phone, code_for(phone)).status_code == 200, "the code stayed good"


# -- a number that has an account --------------------------------------------------------------------------------------------


def test_who_has_the_number_already_goes_when_that_is_said() -> None:
    person, other, friend = sign_in(), sign_in(), sign_in()
    friend.api.post("/contacts", {"phoneNumber": other.phone})
    other.api.patch("/me", {"name": "Eve"})
    conversation = open_direct(friend, other)
    body = assert_problem(move(person, other.phone), "conflict", 409)
    assert body["details"] == {"taken": True}
    assert other.api.get("/me").status_code == 200
    assert move(person, other.phone, code_for(other.phone), replace=True).status_code == 200
    assert_problem(other.api.get("/me"), "unauthenticated", 401)
    gone = Account.objects.get(pk=other.user_id)
    assert (gone.phone, gone.phone_hash, gone.name) == (None, None, "")
    assert_problem(person.api.get(f"/conversations/{conversation}/events"), "not_found", 404)
    assert friend.api.get("/contacts").json() == {"items": []}
    assert friend.api.post("/contacts", {"phoneNumber": other.phone}).json()["userId"] == person.user_id


def test_a_pin_of_the_number_holds_it_while_it_is_in_use_and_a_ban_for_ever() -> None:
    person, other, banned = sign_in(), with_pin(), sign_in()
    used = Device.objects.get(pk=other.device_id).last_seen_at
    for pin in ("", PIN):  # that of the other account is not asked for here
        body = assert_problem(move(person, other.phone, replace=True, pin=pin), "forbidden", 403)
        assert body["details"] == {"until": used + 7 * DAY_MS}
    silent(other)
    assert_problem(move(person, other.phone), "conflict", 409)
    assert move(person, other.phone, replace=True).status_code == 200
    Account.objects.filter(pk=banned.user_id).update(banned_until=2**52)
    assert_problem(move(person, banned.phone, replace=True), "forbidden", 403)
    assert Account.objects.get(phone=banned.phone).pk == Account.objects.get(pk=banned.user_id).pk


# -- who is told -------------------------------------------------------------------------------------------------------------


def test_contacts_are_told_and_the_number_only_to_those_who_knew_the_old_one_and_are_known(
    told: Any, django_capture_on_commit_callbacks: Any, clock: Any
) -> None:
    ann = sign_in()
    mutual, by_hash, one_sided, by_id, stranger = (sign_in() for _ in range(5))
    blocked, blocking = sign_in(), sign_in()
    for person in (mutual, one_sided, blocked, blocking):
        person.api.post("/contacts", {"phoneNumber": ann.phone})
    assert sync(by_hash, [ann.phone]).json()["items"][0]["phoneNumber"] == ann.phone
    by_id.api.put(f"/contacts/{ann.user_id}", {})
    for person in (mutual, by_hash, by_id, blocked, blocking):
        ann.api.put(f"/contacts/{person.user_id}", {})
    ann.api.put(f"/blocks/{blocked.user_id}")
    blocking.api.put(f"/blocks/{ann.user_id}")
    laptop = sign_in(ann.phone)
    people = (mutual, by_hash, one_sided, by_id, stranger, blocked, blocking, ann)
    reads = {person.user_id: told(person.user_id) for person in people}
    since = now_ms()
    clock(60_000)
    old, phone = ann.phone, new_number()
    with django_capture_on_commit_callbacks(execute=True):
        assert move(ann, phone).status_code == 200
    whole = {"userId": ann.user_id, "phoneNumber": phone}
    heard = {person.user_id: numbers_told(reads[person.user_id]) for person in people}
    assert heard[mutual.user_id] == heard[by_hash.user_id] == [whole]
    assert heard[one_sided.user_id] == heard[by_id.user_id] == [{"userId": ann.user_id}]
    assert heard[blocked.user_id] == heard[one_sided.user_id], "silence would tell of the block"
    assert heard[stranger.user_id] == heard[blocking.user_id] == []
    assert heard[ann.user_id] == [whole], "the other device"
    assert laptop.api.get("/me").json()["phoneNumber"] == phone
    # Who was away finds it in what changed since.
    changed_at = Contact.objects.get(owner_id=mutual.user_id, user_id=ann.user_id).updated_at
    known = {mutual.user_id: phone, by_hash.user_id: phone}
    for person in (mutual, by_hash, one_sided, by_id, blocked):
        (item,) = person.api.get(f"/contacts?since={since}").json()["items"]
        assert (item.get("phoneNumber"), item["numberChangedAt"]) == (known.get(person.user_id), changed_at)
    assert blocking.api.get(f"/contacts?since={since}").json() == {"items": []}
    (item,) = blocking.api.get("/contacts").json()["items"]
    assert "phoneNumber" not in item
    assert "numberChangedAt" not in item
    # The old number is nobody's for all of them.
    for person in (mutual, one_sided, blocked):
        assert_problem(person.api.post("/contacts", {"phoneNumber": old}), "not_found", 404)
    # Who looks the new one up knows it.
    assert one_sided.api.post("/contacts", {"phoneNumber": phone}).json()["phoneNumber"] == phone


def test_who_was_not_told_a_number_is_not_told_the_next_one_either(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    ann, bob = sign_in(), sign_in()
    bob.api.post("/contacts", {"phoneNumber": ann.phone})
    assert move(ann, new_number()).status_code == 200
    ann.api.put(f"/contacts/{bob.user_id}", {})
    read = told(bob.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert move(ann, new_number()).status_code == 200
    assert numbers_told(read) == [{"userId": ann.user_id}]
    (item,) = bob.api.get("/contacts").json()["items"]
    assert "phoneNumber" not in item


def test_nobody_is_told_of_what_did_not_happen(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    ann, bob = with_pin(), sign_in()
    bob.api.post("/contacts", {"phoneNumber": ann.phone})
    read, phone = told(bob.user_id), new_number()
    with django_capture_on_commit_callbacks(execute=True):
        assert move(ann, phone).status_code == 403
        assert move(ann, phone, wrong(phone), pin=PIN).status_code == 403
        assert move(ann, phone, code_for(phone), pin="314159").status_code == 403
    assert read() == []
    assert Account.objects.get(pk=ann.user_id).phone == ann.phone


# -- at once -----------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_accounts_that_move_to_one_number_at_once_do_not_share_it() -> None:
    ann, bob, phone = sign_in(), sign_in(), new_number()
    register(phone)
    code = code_for(phone)
    answers = at_once(lambda: move(ann, phone, code), lambda: move(bob, phone, code))
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    numbers = set(Account.objects.filter(pk__in=[ann.user_id, bob.user_id]).values_list("phone", flat=True))
    assert numbers - {ann.phone, bob.phone} == {phone}


@pytest.mark.django_db(transaction=True)
def test_two_accounts_that_swap_numbers_at_once_end_whole() -> None:
    """Each may end the other, one after the other; neither waits for the other for ever, and no number has two accounts."""
    ann, bob = sign_in(), sign_in()
    register(ann.phone)
    register(bob.phone)
    codes = {phone: code_for(phone) for phone in (ann.phone, bob.phone)}
    answers = at_once(
        lambda: move(ann, bob.phone, codes[bob.phone], replace=True),
        lambda: move(bob, ann.phone, codes[ann.phone], replace=True),
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert statuses[1] in (200, 401, 403)
    holders = Account.objects.filter(phone__in=[ann.phone, bob.phone])
    assert 1 <= holders.count() <= 2
    assert len({account.phone for account in holders}) == holders.count()


@pytest.mark.django_db(transaction=True)
def test_moving_away_while_the_old_number_is_verified_makes_two_accounts_or_one_device_more() -> None:
    ann, phone = sign_in(), new_number()
    old = ann.phone
    for number in (old, phone):
        register(number)
    code, moved_code = code_for(old), code_for(phone)

    def verified() -> Any:
        return Api().post("/auth/verify", {"phoneNumber": old, "code": code, "deviceName": "x"})

    answers = at_once(verified, lambda: move(ann, phone, moved_code))
    assert [answer.status_code for answer in answers] == [200, 200]
    account = Account.objects.get(pk=ann.user_id)
    assert account.phone == phone
    (opened,) = [answer.json() for answer in answers if "token" in answer.json()]
    if opened["userId"] != ann.user_id:
        assert str(Account.objects.get(phone=old).pk) == opened["userId"]
    else:
        assert not Account.objects.filter(phone=old).exists(), "it came first, while the number was Ann's"


@pytest.mark.django_db(transaction=True)
def test_one_account_that_moves_twice_at_once_has_one_number(limits: Any) -> None:
    limits(number_changes_per_day=1)
    ann = sign_in()
    phones = [new_number(), new_number()]
    for phone in phones:
        register(phone)
    statuses = at_once(
        *(lambda phone=phone: move(ann, phone, code_for(phone)).status_code for phone in phones)
    )
    assert sorted(statuses) == [200, 429]
    assert Account.objects.get(pk=ann.user_id).phone in phones


def test_a_look_up_that_comes_too_late_does_not_learn_the_new_number() -> None:
    ann, bob = sign_in(), sign_in()
    before = Account.objects.get(pk=ann.user_id)  # found by the old number, and then the look-up waits
    assert move(ann, new_number()).status_code == 200
    contacts._put(
        owner=Account.objects.get(pk=bob.user_id),
        account=before,
        nickname=None,
        now=now_ms(),
        number=before.phone_hash,
    )
    (item,) = bob.api.get("/contacts").json()["items"]
    assert item["userId"] == ann.user_id
    assert "phoneNumber" not in item
