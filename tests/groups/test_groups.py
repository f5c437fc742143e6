"""Groups over REST: making, changing and ending them."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.ids import KIND_NUMBERS
from delivery.store.sync import store
from tests.groups.conftest import (
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

pytestmark = pytest.mark.django_db


def test_a_group_is_made_with_its_members_and_two_events() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat, bob, ann, description="Sundays")
    assert int(group.replace("-", ""), 16) >> 64 >> 10 & 3 == KIND_NUMBERS["group"]
    everyone = {ann.user_id, bob.user_id, cat.user_id}
    assert a_member_of_the_engine(group) == everyone
    assert roles(bob, group) == {ann.user_id: "creator", bob.user_id: "member", cat.user_id: "member"}
    for person in (ann, bob, cat):
        first, second = owed(person, group)
        kind, actor, data = said(first)
        assert (first.seq, kind, actor, data["creatorId"]) == (1, "member_added", ann.user_id, ann.user_id)
        assert set(data["userIds"]) == everyone
        assert said(second) == (
            "info",
            ann.user_id,
            {
                "name": "Sailing",
                "description": "Sundays",
                "settings": {"whoSends": "all", "whoEdits": "all", "whoAdds": "all"},
            },
        )
    body = bob.api.get(f"/groups/{group}").json()
    assert body.pop("createdAt") > 0
    assert body == {
        "groupId": group,
        "name": "Sailing",
        "description": "Sundays",
        "settings": {"whoSends": "all", "whoEdits": "all", "whoAdds": "all"},
        "memberCount": 3,
        "creatorId": ann.user_id,
        "role": "member",
        "icon": None,
    }


def test_a_repeated_post_makes_one_group() -> None:
    ann, bob = sign_in(), sign_in()
    body = {"name": "Sailing", "members": [bob.user_id]}
    first, again = (
        ann.api.post("/groups", body, headers={"X-Idempotency-Key": "once"}).json() for _ in range(2)
    )
    assert first == again
    assert len(ann.api.get("/conversations").json()["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "members": []},
        {"name": "", "members": ["BOB"]},
        {"name": " ", "members": ["BOB"]},
        {"name": "x" * 257, "members": ["BOB"]},
        {"name": "x\0", "members": ["BOB"]},
        {"name": None, "members": ["BOB"]},
        {"name": "x", "members": "BOB"},
        {"name": "x", "members": [1]},
        {"name": "x", "members": [None]},
        {"name": "x", "members": ["no id"]},
        {"name": "x", "members": ["ANN"]},
        {"name": "x", "members": ["BOB"], "description": "x" * 513},
        {"name": "x", "members": ["BOB"], "settings": {"whoSends": "nobody"}},
        {"name": "x", "members": ["BOB"], "settings": {"whoSends": ["all"]}},
        {"name": "x", "members": ["BOB"], "settings": "all"},
    ],
)
def test_a_bad_body_makes_no_group(body: dict[str, Any]) -> None:
    ann, bob = sign_in(), sign_in()
    who = {"BOB": bob.user_id, "ANN": ann.user_id}
    if isinstance(body.get("members"), list):
        body = {**body, "members": [who.get(one, one) for one in body["members"]]}
    assert_problem(ann.api.post("/groups", body), "bad_request", 400)
    assert ann.api.get("/conversations").json()["items"] == []


def test_nobody_is_made_a_member_who_does_not_exist() -> None:
    ann, bob = sign_in(), sign_in()
    body = {"name": "x", "members": [bob.user_id, some_id()]}
    assert_problem(ann.api.post("/groups", body), "not_found", 404)
    assert bob.api.get("/conversations").json()["items"] == []


def test_a_group_has_at_most_1024_members() -> None:
    ann = sign_in()
    people = accounts(1024)
    body = assert_problem(ann.api.post("/groups", {"name": "x", "members": people}), "limit_exceeded", 409)
    assert body["details"] == {"limit": 1024}
    group = make(ann, *people[:1023])
    assert len(roles(ann, group)) == 1024 == len(a_member_of_the_engine(group))
    assert_problem(ann.api.put(f"/groups/{group}/members/{people[1023]}"), "limit_exceeded", 409)
    assert ann.api.delete(f"/groups/{group}/members/{people[0]}").status_code == 204
    assert ann.api.put(f"/groups/{group}/members/{people[1023]}").status_code == 200


def test_ten_groups_an_hour(limits: Any, clock: Any) -> None:
    limits(groups_per_hour=10)
    ann, bob = sign_in(), sign_in()
    for _ in range(10):
        make(ann, bob)
    answer = ann.api.post("/groups", {"name": "x", "members": [bob.user_id]})
    assert_problem(answer, "rate_limited", 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    make(bob, ann)  # another user's hour
    assert len(ann.api.get("/conversations").json()["items"]) == 11


def test_changes_are_limited(limits: Any) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    limits(group_changes_per_hour=1)
    assert ann.api.patch(f"/groups/{group}", {"name": "Rowing"}).status_code == 200
    assert_problem(ann.api.patch(f"/groups/{group}", {"name": "Golf"}), "rate_limited", 429)
    assert_problem(ann.api.delete(f"/groups/{group}/members/{bob.user_id}"), "rate_limited", 429)
    assert ann.api.delete(f"/groups/{group}/members/{ann.user_id}").status_code == 204, "who leaves may"


def test_info_is_an_event_for_everybody() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    answer = bob.api.patch(f"/groups/{group}", {"name": "Rowing", "description": ""})
    assert answer.status_code == 200
    assert answer.json()["name"] == "Rowing"
    assert said(owed(ann, group)[-1]) == ("info", bob.user_id, {"name": "Rowing"})
    assert ann.api.get(f"/groups/{group}").json()["name"] == "Rowing"
    assert bob.api.patch(f"/groups/{group}", {"name": "Rowing"}).status_code == 200
    assert bob.api.patch(f"/groups/{group}", {}).status_code == 200
    assert len(owed(ann, group)) == 3, "what stays as it was is no event"


def test_settings_are_for_admins_and_in_force() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    strict = {"whoSends": "admins", "whoEdits": "admins", "whoAdds": "admins"}
    assert_problem(bob.api.patch(f"/groups/{group}", {"settings": strict}), "forbidden", 403)
    answer = ann.api.patch(f"/groups/{group}", {"settings": strict})
    assert answer.json()["settings"] == strict
    assert said(owed(bob, group)[-1]) == ("info", ann.user_id, {"settings": strict})
    assert_problem(bob.api.patch(f"/groups/{group}", {"name": "Golf"}), "forbidden", 403)
    assert_problem(bob.api.put(f"/groups/{group}/members/{cat.user_id}"), "forbidden", 403)
    assert ann.api.get(f"/groups/{group}").json()["name"] == "Sailing"
    assert cat.user_id not in roles(ann, group)


def test_who_may_send_reaches_the_engine() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat, settings={"whoSends": "admins"})

    def speakers() -> set[str] | None:
        found = store.conversations([group])[group].speakers
        return None if found is None else set(found)

    assert speakers() == {ann.user_id}
    ann.api.patch(f"/groups/{group}/members/{bob.user_id}", {"role": "admin"})
    assert speakers() == {ann.user_id, bob.user_id}
    ann.api.patch(f"/groups/{group}/members/{bob.user_id}", {"role": "member"})
    assert speakers() == {ann.user_id}
    ann.api.patch(f"/groups/{group}", {"settings": {"whoSends": "all"}})
    assert speakers() is None
    ann.api.patch(f"/groups/{group}", {"name": "Rowing", "settings": {"whoSends": "admins"}})
    assert speakers() == {ann.user_id}
    ann.api.delete(f"/groups/{group}/members/{ann.user_id}")
    assert speakers() == {bob.user_id}, "the creator's successor"


def test_outsiders_learn_nothing() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    answers = [
        eve.api.get(f"/groups/{group}"),
        eve.api.patch(f"/groups/{group}", {"name": "x"}),
        eve.api.delete(f"/groups/{group}"),
        eve.api.get(f"/groups/{group}/members"),
        eve.api.post(f"/groups/{group}/members", {"members": [eve.user_id]}),
        eve.api.get(f"/groups/{group}/icon"),
        eve.api.put(f"/groups/{group}/icon", b"no picture"),
        eve.api.delete(f"/groups/{group}/icon"),
        eve.api.put(f"/groups/{group}/members/{eve.user_id}"),
        eve.api.patch(f"/groups/{group}/members/{eve.user_id}", {"role": "admin"}),
        eve.api.delete(f"/groups/{group}/members/{bob.user_id}"),
        eve.api.delete(f"/groups/{group}/members/{eve.user_id}"),
        eve.api.get(f"/groups/{group}/invites"),
        eve.api.post(f"/groups/{group}/invites", {}),
        eve.api.delete(f"/groups/{group}/invites/x"),
        eve.api.get(f"/groups/{group}/requests"),
        eve.api.put(f"/groups/{group}/requests/{eve.user_id}"),
        eve.api.delete(f"/groups/{group}/requests/{eve.user_id}"),
    ]
    for answer in answers:
        body = assert_problem(answer, "not_found", 404)
        there = eve.api.get(f"/groups/{some_id()}").json()
        assert body == there, "as for what does not exist"
    assert len(owed(ann, group)) == 2


def test_who_was_a_member_is_an_outsider() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    bob.api.delete(f"/groups/{group}/members/{bob.user_id}")
    assert_problem(bob.api.get(f"/groups/{group}"), "not_found", 404)
    assert_problem(bob.api.get(f"/groups/{group}/members"), "not_found", 404)
    assert_problem(bob.api.patch(f"/groups/{group}", {"name": "x"}), "not_found", 404)


def test_a_group_ends_for_everybody() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    ann.api.patch(f"/groups/{group}/members/{bob.user_id}", {"role": "admin"})
    code = ann.api.post(f"/groups/{group}/invites", {}).json()["code"]
    assert_problem(bob.api.delete(f"/groups/{group}"), "forbidden", 403)
    assert ann.api.delete(f"/groups/{group}").status_code == 204
    for person in (ann, bob):
        assert said(owed(person, group)[-1]) == ("info", ann.user_id, {"dissolved": True})
        assert_problem(person.api.get(f"/groups/{group}"), "not_found", 404)
    assert a_member_of_the_engine(group) == set()
    assert_problem(ann.api.delete(f"/groups/{group}"), "not_found", 404)
    assert_problem(sign_in().api.post(f"/invites/{code}/join", {}), "gone", 410)


def test_conversations_list_groups() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    direct = ann.api.put(f"/conversations/direct/{bob.user_id}").json()["conversationId"]
    items = {item["conversationId"]: item for item in bob.api.get("/conversations").json()["items"]}
    assert set(items) == {group, direct}
    shown = items[group]
    assert (shown["kind"], shown["groupId"], shown["name"]) == ("group", group, "Sailing")
    assert (shown["peerId"], shown["role"], shown["memberCount"]) == (None, "member", 2)
    assert (shown["head"], shown["unread"], shown["lastEvent"]["kind"]) == (2, 0, "info")
    assert (items[direct]["groupId"], items[direct]["name"]) == (None, None)
    # Who left sees what it was called then, not what it is called now.
    bob.api.delete(f"/groups/{group}/members/{bob.user_id}")
    ann.api.patch(f"/groups/{group}", {"name": "Secret"})
    (left,) = [item for item in bob.api.get("/conversations").json()["items"] if item["groupId"]]
    assert (left["name"], left["role"], left["memberCount"]) == ("Sailing", None, None)
    assert left["lastEvent"]["kind"] == "member_removed"
    events = bob.api.get(f"/conversations/{group}/events").json()
    assert [event["kind"] for event in events["items"]] == ["member_added", "info", "member_removed"]
    assert "Secret" not in str(events)
