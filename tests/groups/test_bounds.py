"""The last value that is taken and the first one that is not, for what the interface promises of groups."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.errors import Refused
from accounts.models import Account
from groups.services.groups import create_group
from tests.groups.conftest import accounts, assert_problem, make, owed, roles, said, sign_in
from tests.groups.test_invites import invite, join

pytestmark = pytest.mark.django_db

LETTER = "\N{GRINNING FACE}"  # a character counts as one, whatever it takes


@pytest.mark.parametrize(("field", "most"), [("name", 256), ("description", 512)])
def test_texts_have_their_last_character(field: str, most: int) -> None:
    ann, bob = sign_in(), sign_in()
    text = LETTER * most
    body = {"name": "x", "members": [bob.user_id], field: text}
    group = ann.api.post("/groups", body).json()["groupId"]
    assert bob.api.get(f"/groups/{group}").json()[field] == text
    assert said(owed(bob, group)[1])[2][field] == text
    other = "y" * most
    assert ann.api.patch(f"/groups/{group}", {field: other}).json()[field] == other
    assert_problem(ann.api.patch(f"/groups/{group}", {field: other + "y"}), "bad_request", 400)
    assert bob.api.get(f"/groups/{group}").json()[field] == other
    assert len(owed(bob, group)) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": " "},
        {"name": None},
        {"name": 7},
        {"name": "a\u202eb"},
        {"description": None},
        {"description": "x\0"},
        {"settings": None},
        {"settings": {"whoAdds": "nobody"}},
        {"settings": {"whoEdits": True}},
        {"name": "Rowing", "settings": {"whoSends": "me"}},
    ],
)
def test_a_bad_change_changes_nothing(body: dict[str, Any]) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    before = ann.api.get(f"/groups/{group}").json()
    assert_problem(ann.api.patch(f"/groups/{group}", body), "bad_request", 400)
    assert ann.api.get(f"/groups/{group}").json() == before
    assert len(owed(bob, group)) == 2


def test_an_hour_later_there_are_ten_groups_again(limits: Any, clock: Any) -> None:
    limits(groups_per_hour=10)
    ann, bob = (Account.objects.get(pk=person.user_id) for person in (sign_in(), sign_in()))

    def one() -> None:
        create_group(account=ann, name="x", members=[bob.pk])

    for _ in range(10):
        one()
    clock(3_599_000)
    with pytest.raises(Refused) as refused:
        one()
    assert refused.value.code == "rate_limited"
    assert 0 < refused.value.retry_after_ms <= 1_000
    clock(1_001)
    one()


def test_a_group_of_two_is_one() -> None:
    ann, bob = sign_in(), sign_in()
    assert ann.api.get(f"/groups/{make(ann, bob)}").json()["memberCount"] == 2


def test_a_full_group_lets_nobody_in_by_any_way(limits: Any) -> None:
    """A link keeps its use, who asked keeps asking, and the place that gets free is for the next one."""
    ann, bob, cat, dan = (sign_in() for _ in range(4))
    group = make(ann, bob)
    code, asking = invite(ann, group, maxUses=1), invite(ann, group, approval=True)
    assert join(cat, asking).json()["state"] == "requested"
    limits(group_members=2)
    assert_problem(join(dan, code), "limit_exceeded", 409)
    assert_problem(ann.api.put(f"/groups/{group}/requests/{cat.user_id}"), "limit_exceeded", 409)
    assert_problem(ann.api.put(f"/groups/{group}/members/{dan.user_id}"), "limit_exceeded", 409)
    (stranger,) = accounts(1)
    answer = ann.api.post(f"/groups/{group}/members", {"members": [stranger]})
    assert [item["state"] for item in answer.json()["items"]] == ["limit_exceeded"]
    assert set(roles(ann, group)) == {ann.user_id, bob.user_id}
    assert len(owed(ann, group)) == 2
    (shown,) = [one for one in ann.api.get(f"/groups/{group}/invites").json()["items"] if one["code"] == code]
    assert shown["uses"] == 0
    assert len(ann.api.get(f"/groups/{group}/requests").json()["items"]) == 1
    bob.api.delete(f"/groups/{group}/members/{bob.user_id}")
    assert join(dan, code).json()["state"] == "joined"


@pytest.mark.parametrize("end", ["expired", "used up", "revoked", "group"])
def test_a_link_that_is_over_shows_nothing(end: str, clock: Any) -> None:
    ann, bob, cat, dan = (sign_in() for _ in range(4))
    group = make(ann, bob)
    code = invite(ann, group, expiresIn=60, maxUses=1)
    assert dan.api.get(f"/invites/{code}").json()["name"] == "Sailing"
    if end == "expired":
        clock(60_000)
    elif end == "used up":
        join(cat, code)
    elif end == "revoked":
        ann.api.delete(f"/groups/{group}/invites/{code}")
    else:
        ann.api.delete(f"/groups/{group}")
    body = assert_problem(dan.api.get(f"/invites/{code}"), "gone", 410)
    assert "Sailing" not in str(body)
    assert_problem(join(dan, code), "gone", 410)
    if end != "group":
        assert ann.api.get(f"/groups/{group}/invites").json() == {"items": []}, "only open ones are listed"


def test_links_are_listed_newest_first(clock: Any) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    codes = []
    for _ in range(3):
        codes.append(invite(ann, group))
        clock(1_000)
    shown = [item["code"] for item in ann.api.get(f"/groups/{group}/invites").json()["items"]]
    assert shown == codes[::-1]


def test_a_link_is_made_once_however_often_it_is_asked_for() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    answers = [
        ann.api.post(f"/groups/{group}/invites", {"maxUses": 3}, headers={"X-Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(ann.api.get(f"/groups/{group}/invites").json()["items"]) == 1


@pytest.mark.parametrize("after", ["x", "", "7", str(uuid.UUID(int=2**128 - 1))])
def test_cursors_of_any_kind(after: str) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    for path in ("members", "requests"):
        answer = ann.api.get(f"/groups/{group}/{path}?after={after}")
        assert answer.status_code in (200, 400), answer.content
        if answer.status_code == 200 and after.startswith("f"):
            assert answer.json() == {"items": []}
    for limit in ("0", "-1", "x"):
        assert_problem(ann.api.get(f"/groups/{group}/members?limit={limit}"), "bad_request", 400)


def test_a_page_goes_on_when_its_last_member_has_left() -> None:
    ann = sign_in()
    people = sorted(accounts(6))
    group = make(ann, *people)
    first = ann.api.get(f"/groups/{group}/members?limit=3").json()
    last = first["items"][-1]["userId"]
    if last != ann.user_id:
        ann.api.delete(f"/groups/{group}/members/{last}")
    rest = ann.api.get(f"/groups/{group}/members?limit=10&after={first['next']}").json()
    seen = [item["userId"] for item in first["items"] + rest["items"]]
    assert sorted(seen) == sorted([ann.user_id, *people])
    assert len(seen) == len(set(seen))
