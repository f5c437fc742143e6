"""Links into a group, and requests to join."""

from __future__ import annotations

from typing import Any

import pytest

from tests.groups.conftest import (
    Person,
    a_member_of_the_engine,
    assert_problem,
    make,
    owed,
    roles,
    said,
    sign_in,
)

pytestmark = pytest.mark.django_db


def invite(person: Person, group: str, **fields: Any) -> str:
    answer = person.api.post(f"/groups/{group}/invites", fields)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["code"])


def join(person: Person, code: str) -> Any:
    return person.api.post(f"/invites/{code}/join", {})


def test_who_has_the_code_joins() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    code = invite(ann, group)
    assert cat.api.get(f"/invites/{code}").json() == {
        "groupId": group,
        "name": "Sailing",
        "description": "",
        "memberCount": 2,
        "approval": False,
        "expiresAt": None,
    }
    for _ in range(2):
        assert join(cat, code).json() == {"groupId": group, "state": "joined"}
    assert [said(event) for event in owed(cat, group)] == [
        ("member_added", cat.user_id, {"user_id": cat.user_id, "invitedBy": ann.user_id})
    ]
    (shown,) = ann.api.get(f"/groups/{group}/invites").json()["items"]
    assert (shown["code"], shown["createdBy"], shown["uses"]) == (code, ann.user_id, 1)


def test_invites_are_for_admins() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    code = invite(ann, group)
    assert_problem(bob.api.post(f"/groups/{group}/invites", {}), "forbidden", 403)
    assert_problem(bob.api.get(f"/groups/{group}/invites"), "forbidden", 403)
    assert_problem(bob.api.delete(f"/groups/{group}/invites/{code}"), "forbidden", 403)
    assert_problem(bob.api.get(f"/groups/{group}/requests"), "forbidden", 403)
    assert_problem(bob.api.put(f"/groups/{group}/requests/{ann.user_id}"), "forbidden", 403)


def test_a_revoked_link_is_gone() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group, other = make(ann, bob), make(ann, bob)
    code, foreign = invite(ann, group), invite(ann, other)
    for one in (code, code, foreign, "x", "x" * 22):
        assert ann.api.delete(f"/groups/{group}/invites/{one}").status_code == 204
    assert_problem(cat.api.get(f"/invites/{code}"), "gone", 410)
    assert_problem(join(cat, code), "gone", 410)
    assert ann.api.get(f"/groups/{group}/invites").json() == {"items": []}
    assert join(cat, foreign).status_code == 200, "a link of another group is not this group's to revoke"


def test_a_link_expires(clock: Any) -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    code = invite(ann, group, expiresIn=60)
    assert cat.api.get(f"/invites/{code}").status_code == 200
    clock(60_000)
    assert_problem(join(cat, code), "gone", 410)
    assert a_member_of_the_engine(group) == {ann.user_id, bob.user_id}


def test_a_link_is_used_up() -> None:
    ann, bob, cat, dan = sign_in(), sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    code = invite(ann, group, maxUses=1)
    assert join(bob, code).json()["state"] == "joined", "a member uses nothing up"
    assert join(cat, code).status_code == 200
    assert_problem(join(dan, code), "gone", 410)
    assert join(cat, code).json()["state"] == "joined"


@pytest.mark.parametrize("code", ["x", "x" * 22, "x" * 5000, "%00", "..%2f", "%F0%9F%98%80"])
def test_codes_that_are_none(code: str) -> None:
    eve = sign_in()
    assert_problem(eve.api.get(f"/invites/{code}"), "not_found", 404)
    assert_problem(join(eve, code), "not_found", 404)


@pytest.mark.parametrize(
    "body",
    [
        {"expiresIn": 0},
        {"expiresIn": "60"},
        {"expiresIn": True},
        {"expiresIn": 10**12},
        {"maxUses": 0},
        {"maxUses": 1.5},
        {"approval": "yes"},
        {"approval": 1},
        {"approval": None},
    ],
)
def test_bad_invites(body: dict[str, Any]) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert_problem(ann.api.post(f"/groups/{group}/invites", body), "bad_request", 400)


def test_open_invites_are_limited(limits: Any) -> None:
    limits(group_invites=2)
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    code = invite(ann, group)
    invite(ann, group)
    assert_problem(ann.api.post(f"/groups/{group}/invites", {}), "limit_exceeded", 409)
    ann.api.delete(f"/groups/{group}/invites/{code}")
    invite(ann, group)


def test_who_was_removed_needs_an_admin() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    code = invite(ann, group)
    ann.api.delete(f"/groups/{group}/members/{bob.user_id}")
    assert_problem(join(bob, code), "forbidden", 403)
    cat.api.delete(f"/groups/{group}/members/{cat.user_id}")
    assert join(cat, code).json()["state"] == "joined", "who left by herself may come back"
    assert ann.api.put(f"/groups/{group}/members/{bob.user_id}").status_code == 200
    bob.api.delete(f"/groups/{group}/members/{bob.user_id}")
    assert join(bob, code).status_code == 200


def test_requests_wait_for_an_admin() -> None:
    ann, bob, cat, dan, eve = (sign_in() for _ in range(5))
    group = make(ann, bob)
    code = invite(ann, group, approval=True, maxUses=3)
    for person in (cat, dan, dan, eve):
        assert join(person, code).json() == {"groupId": group, "state": "requested"}
    assert_problem(cat.api.get(f"/groups/{group}"), "not_found", 404)
    requests = f"/groups/{group}/requests"
    first = ann.api.get(f"{requests}?limit=2").json()
    rest = ann.api.get(f"{requests}?limit=2&after={first['next']}").json()
    assert "next" not in rest
    shown = [item["userId"] for item in first["items"] + rest["items"]]
    assert shown == sorted([cat.user_id, dan.user_id, eve.user_id])
    # Approved, refused, taken back.
    for _ in range(2):
        assert ann.api.put(f"{requests}/{cat.user_id}").json()["role"] == "member"
    assert said(owed(cat, group)[0]) == ("member_added", ann.user_id, {"user_id": cat.user_id})
    for _ in range(2):
        assert ann.api.delete(f"{requests}/{dan.user_id}").status_code == 204
    assert_problem(ann.api.put(f"{requests}/{dan.user_id}"), "not_found", 404)
    assert_problem(dan.api.delete(f"{requests}/{eve.user_id}"), "not_found", 404)
    assert eve.api.delete(f"{requests}/{eve.user_id}").status_code == 204
    assert ann.api.get(requests).json() == {"items": []}
    assert set(roles(ann, group)) == {ann.user_id, bob.user_id, cat.user_id}


def test_requests_are_limited(limits: Any) -> None:
    limits(group_requests=1)
    ann, bob, cat, dan = (sign_in() for _ in range(4))
    code = invite(ann, make(ann, bob), approval=True)
    assert join(cat, code).status_code == 200
    assert_problem(join(dan, code), "limit_exceeded", 409)


def test_an_added_member_does_not_ask_any_more() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    join(cat, invite(ann, group, approval=True))
    ann.api.put(f"/groups/{group}/members/{cat.user_id}")
    assert ann.api.get(f"/groups/{group}/requests").json() == {"items": []}


@pytest.fixture
def commits(django_capture_on_commit_callbacks: Any) -> Any:
    return lambda: django_capture_on_commit_callbacks(execute=True)


def test_admins_are_told_who_asks(told: Any, commits: Any, limits: Any) -> None:
    limits(group_request_notices=2)
    ann, bob, cat, dan, eve = (sign_in() for _ in range(5))
    group = make(bob, ann, cat, dan)
    for admin in (dan, ann):
        bob.api.patch(f"/groups/{group}/members/{admin.user_id}", {"role": "admin"})
    code = invite(bob, group, approval=True)
    heard = {person.user_id: told(person.user_id) for person in (ann, bob, cat, dan, eve)}
    with commits():
        for _ in range(2):
            assert join(eve, code).json()["state"] == "requested"
    notice = {
        "type": "notice",
        "kind": "join_request",
        "data": {"groupId": group, "userId": eve.user_id},
    }
    news = {user: read() for user, read in heard.items()}
    assert news[bob.user_id] == [notice], "once, though asked twice"
    assert news[ann.user_id] + news[dan.user_id] == [notice], (
        "the creator and the oldest admins, not too many"
    )
    assert news[cat.user_id] == news[eve.user_id] == []


@pytest.mark.parametrize("accepted", [True, False])
def test_who_asked_is_told_the_answer(accepted: bool, told: Any, commits: Any) -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    join(cat, invite(ann, group, approval=True))
    read, others = told(cat.user_id), [told(ann.user_id), told(bob.user_id)]
    call = ann.api.put if accepted else ann.api.delete
    with commits():
        for _ in range(2):
            assert call(f"/groups/{group}/requests/{cat.user_id}").status_code in (200, 204)
    assert read() == [
        {"type": "notice", "kind": "join_answer", "data": {"groupId": group, "accepted": accepted}}
    ]
    assert [other() for other in others] == [[], []]


def test_nobody_is_told_of_what_nobody_decided(told: Any, commits: Any) -> None:
    """Taken back by who asked; joined by a link without approval; refused though they never asked."""
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    join(cat, invite(ann, group, approval=True))
    reads = [told(person.user_id) for person in (ann, bob, cat)]
    with commits():
        assert ann.api.delete(f"/groups/{group}/requests/{bob.user_id}").status_code == 204
        assert cat.api.delete(f"/groups/{group}/requests/{cat.user_id}").status_code == 204
        assert join(cat, invite(ann, group)).json()["state"] == "joined"
    assert [read() for read in reads] == [[], [], []]


def test_a_user_asks_so_often_an_hour(limits: Any) -> None:
    limits(group_asks_per_hour=2)
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    code, open_code = invite(ann, group, approval=True), invite(ann, group)
    for _ in range(2):
        assert join(cat, code).status_code == 200
        cat.api.delete(f"/groups/{group}/requests/{cat.user_id}")
    assert_problem(join(cat, code), "rate_limited", 429)
    assert join(cat, open_code).json()["state"] == "joined"
