"""Members and roles over REST."""

from __future__ import annotations

import pytest

from accounts.models import Account
from accounts.services.recycling import retire
from groups.tasks import leave_retired
from tests.groups.conftest import (
    Person,
    a_member_of_the_engine,
    accounts,
    assert_problem,
    make,
    owed,
    roles,
    said,
    sign_in,
    some_id,
)
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def test_a_member_is_added_once() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    for _ in range(2):
        answer = bob.api.put(f"/groups/{group}/members/{cat.user_id}")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["userId"], body["role"]) == (cat.user_id, "member")
    assert [said(event) for event in owed(cat, group)] == [
        ("member_added", bob.user_id, {"user_id": cat.user_id})
    ]
    assert ann.api.get(f"/groups/{group}").json()["memberCount"] == 3
    assert_problem(ann.api.put(f"/groups/{group}/members/{some_id()}"), "not_found", 404)


def test_adding_keeps_the_role() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert bob.api.put(f"/groups/{group}/members/{ann.user_id}").json()["role"] == "creator"
    assert len(owed(ann, group)) == 2


def test_pages_of_members() -> None:
    ann = sign_in()
    people = accounts(7)
    group = make(ann, *people)
    seen: list[str] = []
    after = ""
    for size in (3, 3, 2):
        body = ann.api.get(f"/groups/{group}/members?limit=3{after}").json()
        assert len(body["items"]) == size
        seen += [item["userId"] for item in body["items"]]
        after = f"&after={body.get('next')}"
    assert "next" not in body
    assert seen == sorted([*people, ann.user_id])


def test_a_removed_member_is_owed_the_removal_and_no_more() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    assert_problem(bob.api.delete(f"/groups/{group}/members/{cat.user_id}"), "forbidden", 403)
    assert ann.api.delete(f"/groups/{group}/members/{cat.user_id}").status_code == 204
    assert ann.api.delete(f"/groups/{group}/members/{cat.user_id}").status_code == 204, "idempotent"
    ann.api.patch(f"/groups/{group}", {"name": "Rowing"})
    assert said(owed(cat, group)[-1]) == ("member_removed", ann.user_id, {"user_id": cat.user_id})
    assert len(owed(cat, group)) == 3
    assert len(owed(bob, group)) == 4


def test_who_comes_back_is_owed_nothing_of_the_gap() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    ann.api.patch(f"/groups/{group}/members/{cat.user_id}", {"role": "admin"})  # 3
    ann.api.delete(f"/groups/{group}/members/{cat.user_id}")  # 4
    ann.api.patch(f"/groups/{group}", {"name": "Rowing"})  # 5
    ann.api.put(f"/groups/{group}/members/{cat.user_id}")  # 6
    ann.api.patch(f"/groups/{group}", {"name": "Golf"})  # 7
    assert [event.seq for event in owed(cat, group)] == [1, 2, 3, 4, 6, 7]
    assert roles(ann, group)[cat.user_id] == "member", "the former role is gone"


def test_promote_and_demote() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    member = f"/groups/{group}/members/"
    assert_problem(bob.api.patch(member + bob.user_id, {"role": "admin"}), "forbidden", 403)
    assert ann.api.patch(member + bob.user_id, {"role": "admin"}).json()["role"] == "admin"
    assert said(owed(cat, group)[-1]) == ("role", ann.user_id, {"user_id": bob.user_id, "role": "admin"})
    assert bob.api.patch(member + cat.user_id, {"role": "admin"}).status_code == 200
    assert cat.api.patch(member + bob.user_id, {"role": "member"}).status_code == 200
    assert cat.api.patch(member + bob.user_id, {"role": "member"}).status_code == 200
    assert len(owed(ann, group)) == 5, "said twice is one event"
    assert_problem(cat.api.patch(member + some_id(), {"role": "admin"}), "not_found", 404)
    assert ann.api.patch(member + bob.user_id, {}).json()["role"] == "member"
    for bad in ({"role": "owner"}, {"role": None}, {"role": 1}):
        assert_problem(ann.api.patch(member + bob.user_id, bad), "bad_request", 400)


def test_the_creator_is_safe_from_admins() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    member = f"/groups/{group}/members/"
    ann.api.patch(member + bob.user_id, {"role": "admin"})
    assert_problem(bob.api.delete(member + ann.user_id), "forbidden", 403)
    assert_problem(bob.api.patch(member + ann.user_id, {"role": "member"}), "forbidden", 403)
    assert_problem(bob.api.patch(member + bob.user_id, {"role": "creator"}), "forbidden", 403)
    assert_problem(ann.api.patch(member + ann.user_id, {"role": "admin"}), "forbidden", 403)
    assert roles(ann, group) == {ann.user_id: "creator", bob.user_id: "admin"}


def test_the_creator_hands_over() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    answer = ann.api.patch(f"/groups/{group}/members/{bob.user_id}", {"role": "creator"})
    assert answer.json()["role"] == "creator"
    assert roles(cat, group) == {ann.user_id: "admin", bob.user_id: "creator", cat.user_id: "member"}
    assert [said(event)[2] for event in owed(cat, group)[2:]] == [
        {"user_id": bob.user_id, "role": "creator"},
        {"user_id": ann.user_id, "role": "admin"},
    ]
    assert_problem(ann.api.delete(f"/groups/{group}"), "forbidden", 403)
    assert cat.api.get(f"/groups/{group}").json()["creatorId"] == bob.user_id


def leave(person: Person, group: str) -> None:
    assert person.api.delete(f"/groups/{group}/members/{person.user_id}").status_code == 204


def test_the_oldest_admin_follows_the_creator() -> None:
    ann, bob, cat, dan = sign_in(), sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat, dan)
    for person in (dan, cat):
        ann.api.patch(f"/groups/{group}/members/{person.user_id}", {"role": "admin"})
    leave(ann, group)
    assert roles(bob, group) == {bob.user_id: "member", cat.user_id: "creator", dan.user_id: "admin"}
    assert [said(event)[:1] + said(event)[2:] for event in owed(ann, group)[-2:]] == [
        ("role", {"user_id": cat.user_id, "role": "creator"}),
        ("member_removed", {"user_id": ann.user_id}),
    ]


def test_without_admins_the_oldest_member_follows_and_the_last_one_ends_it() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    leave(ann, group)
    leave(ann, group)  # said twice
    assert roles(cat, group) == {bob.user_id: "creator", cat.user_id: "member"}
    code = bob.api.post(f"/groups/{group}/invites", {}).json()["code"]
    leave(bob, group)
    leave(cat, group)
    assert a_member_of_the_engine(group) == set()
    assert said(owed(cat, group)[-1]) == ("member_removed", cat.user_id, {"user_id": cat.user_id})
    assert_problem(ann.api.post(f"/invites/{code}/join", {}), "gone", 410)


def test_an_account_that_ends_leaves_all_its_groups() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    groups = [make(ann, bob), make(bob, ann), make(ann, bob)]
    others = make(bob, cat)
    retire(account=Account.objects.get(pk=ann.user_id), now=now_ms())
    for _ in range(2):
        leave_retired()
    assert set(roles(cat, others)) == {bob.user_id, cat.user_id}
    for group in groups:
        assert roles(bob, group) == {bob.user_id: "creator"}
        assert a_member_of_the_engine(group) == {bob.user_id}
