"""Requests that add several members each, at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.accounts.conftest import parallel
from tests.groups.conftest import accounts, make, owed, roles, sign_in
from tests.groups.test_races import consistent

pytestmark = pytest.mark.django_db(transaction=True)


def test_hundreds_by_several_requests_end_at_exactly_1024() -> None:
    """Overlapping ones too: nobody becomes a member twice, nobody is left out while there is room."""
    ann = sign_in()
    people = accounts(923 + 200)
    group = make(ann, *people[:923])
    new = people[923:]
    calls = iter([new[0:80], new[40:120], new[100:180], new[120:200]])

    def add() -> dict[str, str]:
        answer = ann.api.post(f"/groups/{group}/members", {"members": next(calls)})
        assert answer.status_code == 200, answer.content
        return {item["userId"]: item["state"] for item in answer.json()["items"]}

    answers: list[dict[str, str]] = parallel(4, add)
    assert len(answers) == 4
    counted = Counter(state for answer in answers for state in answer.values())
    assert counted["added"] == 100, "1,024 less the 924 that were"
    assert counted["limit_exceeded"] > 0
    members = consistent(group)
    assert len(members) == 1024
    added = [user for answer in answers for user, state in answer.items() if state == "added"]
    assert len(added) == len(set(added))
    assert set(added) <= members
    news: list[Any] = owed(ann, group)[2:]
    assert len(news) == 100
    assert len(roles(ann, group)) == 1024


def test_a_group_above_a_limit_that_was_lowered_takes_nobody(limits: Callable[..., None]) -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, cat)
    limits(group_members=2)
    answer = ann.api.post(f"/groups/{group}/members", {"members": accounts(2)})
    assert [item["state"] for item in answer.json()["items"]] == ["limit_exceeded"] * 2
    assert consistent(group) == {ann.user_id, bob.user_id, cat.user_id}


def test_a_crash_adds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)

    def crash(**_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr("groups.services.members.change_group", crash)
        answer = ann.api.post(f"/groups/{group}/members", {"members": accounts(5)})
    assert answer.status_code == 500
    assert consistent(group) == {ann.user_id, bob.user_id}
