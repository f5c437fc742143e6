"""/me, /users and /contacts."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.models import Contact
from tests.accounts.conftest import Api, assert_problem, at_once, new_number, parallel, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


# -- /me ------------------------------------------------------------------------------------------------------------------


def test_me_is_changed_in_parts() -> None:
    person = sign_in()
    before = person.api.get("/me").json()
    assert before == {
        "userId": person.user_id,
        "deviceId": person.device_id,
        "phoneNumber": person.phone,
        "name": "",
        "about": "",
        "language": "",
        "region": 0,
        "createdAt": before["createdAt"],
        "photo": None,
        "pinSet": False,
        "pinFailedAt": None,
        "limited": None,
    }
    changed = person.api.patch(
        "/me", {"name": "Ann 🐟", "language": "pt-BR", "phoneNumber": "+15550000"}
    ).json()
    assert changed == {**before, "name": "Ann 🐟", "language": "pt-BR"}
    assert person.api.patch("/me", {"about": "hi"}).json() == {**changed, "about": "hi"}
    assert person.api.patch("/me", {"name": ""}).json()["name"] == ""
    assert person.api.get("/me").json()["about"] == "hi"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 101),
        ("name", None),
        ("name", "a\u0000b"),
        ("name", ["x"]),
        ("about", "x" * 501),
        ("language", "not a language"),
        ("language", "en\nde"),
        ("language", "e"),
        ("language", "en_US"),
        ("language", "en-US-US"),
        ("language", "de-419-DE"),
        ("language", "en-"),
        ("language", "x"),
        ("language", "en-abcdefghi"),
        ("language", "en-x-" + "a-" * 14 + "abc"),
    ],
)
def test_me_names_the_field_at_fault(field: str, value: Any) -> None:
    answer = sign_in().api.patch("/me", {field: value})
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}


@pytest.mark.parametrize(
    "tag",
    ["en", "pt-BR", "zh-Hant-TW", "es-419", "de-CH-1996", "sl-rozaj-biske", "de-u-co-phonebk", "x-own", ""],
)
def test_languages_are_tags_of_bcp_47(tag: str) -> None:
    assert sign_in().api.patch("/me", {"language": tag}).json()["language"] == tag


def test_names_and_abouts_are_counted_in_characters_of_any_script() -> None:
    person = sign_in()
    name, about = "名🐟" * 50, "é" * 500
    assert person.api.patch("/me", {"name": name, "about": about}).json()["about"] == about
    assert person.api.get("/me").json()["name"] == name


def test_what_changing_me_costs(django_assert_num_queries: Any) -> None:
    api = sign_in().api
    with django_assert_num_queries(9):  # with a savepoint for the count of changes and one for the change
        api.patch("/me", {"name": "Ann", "about": "hi"})
    with django_assert_num_queries(2):
        api.patch("/me", {"name": "Ann", "about": "hi"})


# -- /users ---------------------------------------------------------------------------------------------------------------


def test_what_a_user_shows() -> None:
    person, other = sign_in(), sign_in()
    other.api.patch("/me", {"name": "Bob", "about": "busy"})
    shown = person.api.get(f"/users/{other.user_id}").json()
    assert shown == {"userId": other.user_id, "name": "Bob", "about": "busy", "photo": None}


def test_unknown_users_are_not_found() -> None:
    api = sign_in().api
    assert_problem(api.get(f"/users/{uuid.uuid4()}"), "not_found", 404)
    assert_problem(api.get("/users/me"), "not_found", 404)


# -- /contacts ------------------------------------------------------------------------------------------------------------


def test_a_number_becomes_a_contact() -> None:
    person, other = sign_in(), sign_in()
    other.api.patch("/me", {"name": "Bob"})
    answer = person.api.post("/contacts", {"phoneNumber": other.phone, "nickname": "Bobby"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"userId", "nickname", "name", "about", "photo", "updatedAt", "phoneNumber"}
    assert (body["userId"], body["nickname"], body["name"]) == (other.user_id, "Bobby", "Bob")
    assert person.api.get("/contacts").json() == {"items": [body]}
    assert other.api.get("/contacts").json() == {"items": []}  # it goes one way


def test_adding_again_changes_nothing_but_a_given_nickname() -> None:
    person, other = sign_in(), sign_in()
    first = person.api.post("/contacts", {"phoneNumber": other.phone, "nickname": "Bobby"}).json()
    assert person.api.post("/contacts", {"phoneNumber": other.phone}).json() == first
    again = person.api.post("/contacts", {"phoneNumber": other.phone, "nickname": ""}).json()
    assert again["nickname"] == ""
    assert Contact.objects.filter(owner_id=person.user_id).count() == 1


def test_an_unknown_number_is_not_found_and_oneself_is_refused() -> None:
    person = sign_in()
    assert_problem(person.api.post("/contacts", {"phoneNumber": new_number()}), "not_found", 404)
    assert_problem(person.api.post("/contacts", {"phoneNumber": person.phone}), "bad_request", 400)
    assert_problem(person.api.put(f"/contacts/{person.user_id}", {}), "bad_request", 400)
    assert_problem(person.api.put(f"/contacts/{uuid.uuid4()}", {}), "not_found", 404)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("phoneNumber", {}),
        ("phoneNumber", {"phoneNumber": "call me"}),
        ("nickname", {"phoneNumber": "+15550001", "nickname": "x" * 101}),
    ],
)
def test_contacts_name_the_field_at_fault(field: str, body: dict[str, Any]) -> None:
    answer = sign_in().api.post("/contacts", body)
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}


def test_a_contact_is_put_and_removed_by_id_idempotently() -> None:
    person, other = sign_in(), sign_in()
    path = f"/contacts/{other.user_id}"
    first = person.api.put(path, {"nickname": "B"})
    assert first.status_code == 200
    assert person.api.put(path, {"nickname": "B"}).json() == first.json()
    assert person.api.put(path, {"nickname": "C"}).json()["nickname"] == "C"
    assert person.api.delete(path).status_code == 204
    assert person.api.delete(path).status_code == 204
    assert person.api.get("/contacts").json() == {"items": []}


@pytest.mark.django_db(transaction=True)
def test_two_who_add_each_other_at_once_do_not_wait_for_each_other() -> None:
    for _ in range(10):
        ann, bob = sign_in(), sign_in()
        answers = at_once(
            lambda ann=ann, bob=bob: ann.api.put(f"/contacts/{bob.user_id}").status_code,
            lambda ann=ann, bob=bob: bob.api.put(f"/contacts/{ann.user_id}").status_code,
        )
        assert answers == [200, 200]


def test_contacts_come_in_pages_and_since() -> None:
    person = sign_in()
    others = sorted((sign_in() for _ in range(5)), key=lambda other: other.user_id)
    for other in others:
        person.api.put(f"/contacts/{other.user_id}", {})
    seen, path = [], "/contacts?limit=2"
    while path:
        body = person.api.get(path).json()
        assert len(body["items"]) <= 2
        seen += [item["userId"] for item in body["items"]]
        path = f"/contacts?limit=2&after={body['next']}" if "next" in body else ""
    assert seen == [other.user_id for other in others]
    since = max(contact.updated_at for contact in Contact.objects.filter(owner_id=person.user_id))
    assert person.api.get(f"/contacts?since={since}").json()["items"] == []
    assert len(person.api.get(f"/contacts?since={since - 86_400_000}").json()["items"]) == 5


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=٣", "after=x", "since=1.5", "since=99999999999999999"]
)
def test_page_parameters_are_checked(query: str) -> None:
    name = query.partition("=")[0]
    answer = sign_in().api.get(f"/contacts?{query}")
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": name}


def test_a_page_of_contacts_costs_three_queries(django_assert_num_queries: Any) -> None:
    person = sign_in()
    for _ in range(3):
        person.api.put(f"/contacts/{sign_in().user_id}", {})
    with django_assert_num_queries(3):
        assert len(person.api.get("/contacts").json()["items"]) == 3


@pytest.mark.parametrize(
    ("name", "window_ms"), [("contacts_per_hour", 3_600_000), ("contacts_per_day", 86_400_000)]
)
def test_looking_up_numbers_is_limited_found_or_not(
    name: str, window_ms: int, limits: Any, clock: Any
) -> None:
    limits(contacts_per_hour=1_000, contacts_per_day=1_000)
    limits(**{name: 2})
    person, other = sign_in(), sign_in()
    assert person.api.post("/contacts", {"phoneNumber": other.phone}).status_code == 200
    assert person.api.post("/contacts", {"phoneNumber": new_number()}).status_code == 404
    answer = person.api.post("/contacts", {"phoneNumber": other.phone})
    problem = assert_problem(answer, "rate_limited", 429)
    assert 0 < problem["retryAfterMs"] <= window_ms
    assert other.api.post("/contacts", {"phoneNumber": person.phone}).status_code == 200
    clock(window_ms)
    again = Api(sign_in(person.phone).token)
    assert again.post("/contacts", {"phoneNumber": other.phone}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_parallel_look_ups_do_not_pass_the_limit(limits: Any) -> None:
    limits(contacts_per_hour=3)
    person, other = sign_in(), sign_in()
    add = lambda: person.api.post("/contacts", {"phoneNumber": other.phone}).status_code  # noqa: E731
    statuses = parallel(9, add)
    assert (statuses.count(200), statuses.count(429)) == (3, 6)


def test_an_address_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts.services import contacts

    monkeypatch.setattr(contacts, "MAX_CONTACTS", 1)
    person, first, second = sign_in(), sign_in(), sign_in()
    assert person.api.put(f"/contacts/{first.user_id}", {}).status_code == 200
    assert_problem(person.api.put(f"/contacts/{second.user_id}", {}), "limit_exceeded", 409)
    assert person.api.put(f"/contacts/{first.user_id}", {"nickname": "still"}).status_code == 200


def test_times_are_ms() -> None:
    created = sign_in().api.get("/me").json()["createdAt"]
    assert abs(created - now_ms()) < 60_000
