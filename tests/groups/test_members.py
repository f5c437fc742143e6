"""Members and roles over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db.models import ProtectedError

from accounts.models import Account
from accounts.services.recycling import retire
from groups.models import Group, Membership
from groups.tasks import leave_ended, leave_retired
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


def add(person: Person, group: str, *members: str, **options: Any) -> Any:
    return person.api.post(f"/groups/{group}/members", {"members": list(members)}, **options)


def states(answer: Any) -> dict[str, str]:
    assert answer.status_code == 200, answer.content
    return {item["userId"]: item["state"] for item in answer.json()["items"]}


def test_several_are_added_at_once() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    dan, eve = accounts(2)
    nobody, retired = some_id(), sign_in()
    group = make(ann, bob)
    bob.api.delete(f"/groups/{group}/members/{bob.user_id}")
    retire(account=Account.objects.get(pk=retired.user_id), now=now_ms())
    given = [dan, nobody, ann.user_id, bob.user_id, eve, dan, retired.user_id]
    answer = add(ann, group, *given)
    assert [(item["userId"], item["state"]) for item in answer.json()["items"]] == [
        (dan, "added"),
        (nobody, "not_found"),
        (ann.user_id, "member"),
        (bob.user_id, "added"),
        (eve, "added"),
        (retired.user_id, "not_found"),
    ]
    everyone = {ann.user_id, bob.user_id, dan, eve}
    assert set(roles(ann, group)) == everyone == a_member_of_the_engine(group)
    assert ann.api.get(f"/groups/{group}").json()["memberCount"] == 4
    news = owed(ann, group)[3:]
    assert [said(event) for event in news] == [
        ("member_added", ann.user_id, {"user_id": user}) for user in (dan, bob.user_id, eve)
    ]
    assert [event.seq for event in owed(eve, group)] == [news[2].seq], "each is owed from their own event on"
    assert set(states(add(ann, group, *given)).values()) == {"member", "not_found"}
    assert len(owed(ann, group)) == 6, "said twice, done once"
    assert_problem(cat.api.get(f"/groups/{group}"), "not_found", 404)


def test_several_fill_a_group_to_the_last_place(limits: Any) -> None:
    limits(group_members=5)
    ann, bob = sign_in(), sign_in()
    people = accounts(5)
    group = make(ann, bob)
    found = states(add(ann, group, *people[:2], bob.user_id, *people[2:]))
    assert [found[user] for user in people] == ["added"] * 3 + ["limit_exceeded"] * 2
    assert found[bob.user_id] == "member"
    assert set(roles(ann, group)) == {ann.user_id, bob.user_id, *people[:3]} == a_member_of_the_engine(group)
    assert len(owed(ann, group)) == 2 + 3


def test_who_may_add_several(limits: Any) -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    dan, fay, guy = accounts(3)
    group = make(ann, bob, settings={"whoAdds": "admins"})
    assert_problem(add(bob, group, dan), "forbidden", 403)
    assert_problem(add(eve, group, dan), "not_found", 404)
    assert_problem(add(ann, some_id(), dan), "not_found", 404)
    for body in ({}, {"members": []}, {"members": "x"}, {"members": [1]}, {"members": [some_id()] * 101}):
        assert_problem(ann.api.post(f"/groups/{group}/members", body), "bad_request", 400)
    assert len(owed(ann, group)) == 2
    limits(group_changes_per_hour=2)
    assert_problem(add(ann, group, dan, fay, guy), "rate_limited", 429)
    assert set(roles(ann, group)) == {ann.user_id, bob.user_id}, "all of them or none"
    first, again = (add(ann, group, dan, fay, headers={"X-Idempotency-Key": "once"}) for _ in range(2))
    assert states(first) == states(again) == {dan: "added", fay: "added"}
    assert again.headers["X-Idempotency-Replayed"] == "true"


def test_who_asked_and_is_added_with_others_is_told(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    code = ann.api.post(f"/groups/{group}/invites", {"approval": True}).json()["code"]
    cat.api.post(f"/invites/{code}/join", {})
    read = told(cat.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert states(add(ann, group, cat.user_id)) == {cat.user_id: "added"}
    assert read() == [{"type": "notice", "kind": "join_answer", "data": {"groupId": group, "accepted": True}}]
    assert ann.api.get(f"/groups/{group}/requests").json() == {"items": []}


def end(person: Person) -> None:
    retire(account=Account.objects.get(pk=person.user_id), now=now_ms())


def test_an_account_that_ends_leaves_right_away(
    django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event, the successor, and nothing that waits for an answer; others of the group need do nothing."""
    monkeypatch.setattr("delivery.tasks._soon", lambda publish, task, *args: task(*args))
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group, other = make(ann, bob), make(bob, cat)
    code = bob.api.post(f"/groups/{other}/invites", {"approval": True}).json()["code"]
    assert ann.api.post(f"/invites/{code}/join", {}).json()["state"] == "requested"
    with django_capture_on_commit_callbacks(execute=True):
        end(ann)
    assert roles(bob, group) == {bob.user_id: "creator"}
    assert a_member_of_the_engine(group) == {bob.user_id}
    assert [said(event) for event in owed(bob, group)[2:]] == [
        ("role", ann.user_id, {"user_id": bob.user_id, "role": "creator"}),
        ("member_removed", ann.user_id, {"user_id": ann.user_id}),
    ]
    assert bob.api.get(f"/groups/{other}/requests").json() == {"items": []}


def test_a_lost_word_of_an_ended_account_is_found(
    django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is away, or what follows fails: the account has ended all the same, and the hourly look finishes it."""

    def away(*_: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("delivery.tasks._soon", away)
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    with django_capture_on_commit_callbacks(execute=True):
        end(ann)
    assert len(roles(bob, group)) == 2
    leave_retired()
    assert roles(bob, group) == {bob.user_id: "creator"}


def test_only_an_ended_account_is_made_to_leave() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    for user in (ann.user_id, some_id()):
        leave_ended(user)
    leave_retired()
    assert len(roles(bob, group)) == 2


def test_no_other_way_takes_a_creator_out() -> None:
    """Neither the database nor the admin lets an account, a group or a membership just go."""
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    bob.api.patch(f"/groups/{group}/members/{bob.user_id}", {"role": "admin"})
    assert_problem(bob.api.delete(f"/groups/{group}/members/{ann.user_id}"), "forbidden", 403)
    assert_problem(bob.api.delete(f"/groups/{group}"), "forbidden", 403)
    with pytest.raises(ProtectedError):
        Account.objects.get(pk=ann.user_id).delete()
    shown = admin.site._registry
    assert not {Group, Membership} & set(shown)
    assert shown[Account].has_delete_permission(None) is False  # type: ignore[arg-type]
    assert_problem(ann.api.delete("/me"), "forbidden", 403)  # a token alone ends nothing
    assert roles(bob, group)[ann.user_id] == "creator"
