"""Changes of one group at once, in real threads on connections of their own."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from delivery.store.sync import store
from groups.models import Group, Membership
from tests.groups.conftest import (
    Person,
    a_member_of_the_engine,
    accounts,
    make,
    owed,
    roles,
    said,
    sign_in,
)

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of all calls, ``THREADS`` at a time; the first ones start together."""
    barrier = threading.Barrier(min(THREADS, len(calls)))
    waiting = threading.local()

    def run(call: Callable[[], Any]) -> Any:
        if not hasattr(waiting, "done"):
            waiting.done = True
            barrier.wait(30)
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(min(THREADS, len(calls))) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def consistent(group: str) -> set[str]:
    """Both sides say the same about who is a member, and the counts are right; the members."""
    rows = Membership.objects.filter(group_id=group, left_at=None)
    members = {str(user) for user in rows.values_list("user_id", flat=True)}
    assert a_member_of_the_engine(group) == members
    kept = Group.objects.get(pk=group)
    assert kept.member_count == len(members)
    assert (kept.dissolved_at is None) is bool(members)
    assert rows.filter(role="creator").count() == (1 if members else 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT head, members FROM delivery_head WHERE conversation = %s", [group])
        head, counted = cursor.fetchone()
        cursor.execute("SELECT count(*), max(seq) FROM delivery_event WHERE conversation = %s", [group])
        assert cursor.fetchone() == (head, head), "the log has no hole"
    assert counted == len(members)
    return members


def test_200_adds_at_1020_members_end_at_1024() -> None:
    ann = sign_in()
    people = accounts(1019 + 200)
    group = make(ann, *people[:1019])
    new = people[1019:]
    answers = at_once(
        [lambda user=user: ann.api.put(f"/groups/{group}/members/{user}") for user in new]  # type: ignore[misc]
    )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(409)) == (4, 196)
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"limit_exceeded"}
    assert len(consistent(group)) == 1024
    assert len(owed(ann, group)) == 2 + 4, "an event for each who came, none for the others"


def test_one_user_is_added_once() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)
    adders = [ann, bob] * 6
    answers = at_once(
        [lambda who=who: who.api.put(f"/groups/{group}/members/{cat.user_id}") for who in adders]  # type: ignore[misc]
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(owed(cat, group)) == 1
    consistent(group)


def test_two_admins_who_remove_each_other() -> None:
    ann = sign_in()
    for _ in range(3):
        bob, cat = sign_in(), sign_in()
        group = make(ann, bob, cat)
        member = f"/groups/{group}/members/"
        for person in (bob, cat):
            ann.api.patch(member + person.user_id, {"role": "admin"})
        first, second = at_once(
            [
                lambda: bob.api.delete(member + cat.user_id),  # noqa: B023
                lambda: cat.api.delete(member + bob.user_id),  # noqa: B023
            ]
        )
        assert sorted((first.status_code, second.status_code)) == [204, 404], (
            "the second one is none any more"
        )
        survivor = bob if first.status_code == 204 else cat
        assert consistent(group) == {ann.user_id, survivor.user_id}
        assert roles(ann, group)[survivor.user_id] == "admin"


def test_leaving_while_being_removed() -> None:
    ann = sign_in()
    for _ in range(3):
        bob = sign_in()
        group = make(ann, bob)
        path = f"/groups/{group}/members/{bob.user_id}"
        answers = at_once([lambda: bob.api.delete(path), lambda: ann.api.delete(path)])  # noqa: B023
        assert [answer.status_code for answer in answers] == [204, 204]
        assert [said(event)[0] for event in owed(bob, group)][2:] == ["member_removed"], "one event"
        assert consistent(group) == {ann.user_id}


def test_everybody_leaves_at_once() -> None:
    people = [sign_in() for _ in range(8)]
    group = make(*people)
    answers = at_once(
        [lambda who=who: who.api.delete(f"/groups/{group}/members/{who.user_id}") for who in people]  # type: ignore[misc]
    )
    assert {answer.status_code for answer in answers} == {204}
    assert consistent(group) == set()


def test_a_link_for_two_lets_two_in() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    code = ann.api.post(f"/groups/{group}/invites", {"maxUses": 2}).json()["code"]
    people = [sign_in() for _ in range(12)]
    answers = at_once([lambda who=who: who.api.post(f"/invites/{code}/join", {}) for who in people])  # type: ignore[misc]
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(410)) == (2, 10)
    assert len(consistent(group)) == 4


def test_a_change_that_fails_at_its_end_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row and the event are one transaction."""
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group = make(ann, bob)

    def fails(**_: Any) -> None:
        raise RuntimeError("the machine burns")

    monkeypatch.setattr("groups.services.members.change_group", fails)
    assert ann.api.put(f"/groups/{group}/members/{cat.user_id}").status_code == 500
    assert ann.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 500
    assert consistent(group) == {ann.user_id, bob.user_id}


class Town:
    """What a few people may have become by random requests, by a model that knows the rules only."""

    def __init__(self, people: list[Person]) -> None:
        self.people = people
        self.group = make(*people[:3])
        self.roles = {people[0].user_id: "creator", **{one.user_id: "member" for one in people[1:3]}}
        self.since = dict.fromkeys(self.roles, 0)  # when they came, for who follows the creator
        self.order = {one.user_id: number for number, one in enumerate(people)}
        self.removed: set[str] = set()
        self.owed: dict[str, list[int]] = {user: [1, 2] for user in self.roles}
        self.head = 2
        self.steps = 0

    def event(self, *, joins: str = "", leaves: str = "") -> None:
        self.head += 1
        if joins:
            self.owed.setdefault(joins, [])
        for user in {*self.roles, joins} - {""}:
            self.owed[user].append(self.head)
        if leaves:
            del self.roles[leaves]

    def step(self, actor: Person, action: str, target: Person) -> tuple[Any, int]:
        """The answer, and the status that the rules want."""
        self.steps += 1
        me, you = actor.user_id, target.user_id
        mine, yours = self.roles.get(me), self.roles.get(you)
        path = f"/groups/{self.group}/members/{you}"
        if action == "add":
            answer = actor.api.put(path)
            if mine is None:
                return answer, 404
            if yours is None:
                self.roles[you], self.since[you] = "member", self.steps
                self.removed.discard(you)
                self.event(joins=you)
            return answer, 200
        if action == "remove":
            answer = actor.api.delete(path)
            if me == you:
                if mine is None:
                    return answer, 204 if you in self.owed else 404
                if mine == "creator" and len(self.roles) > 1:
                    heirs = [user for user in self.roles if user != me]
                    heir = min(
                        heirs,
                        key=lambda u: (self.roles[u] != "admin", self.since[u], self.order[u]),
                    )
                    self.roles[heir] = "creator"
                    self.event()
                self.event(leaves=me)
                return answer, 204
            if mine is None:
                return answer, 404
            if mine == "member":
                return answer, 403
            if yours is None:
                return answer, 204
            if yours == "creator":
                return answer, 403
            self.removed.add(you)
            self.event(leaves=you)
            return answer, 204
        answer = actor.api.patch(path, {"role": action})
        if mine is None:
            return answer, 404
        if mine == "member":
            return answer, 403
        if yours is None:
            return answer, 404
        if "creator" in (action, yours) and mine != "creator":
            return answer, 403
        if action == yours:
            return answer, 200
        if yours == "creator":
            return answer, 403
        self.roles[you] = action
        self.event()
        if action == "creator":
            self.roles[me] = "admin"
            self.event()
        return answer, 200


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_end_as_the_rules_say(seed: int) -> None:
    chance = random.Random(seed)
    people = [sign_in() for _ in range(5)]
    town = Town(people)
    actions = ["add"] * 4 + ["remove"] * 3 + ["admin", "admin", "member", "creator"]
    for number in range(100):
        actor, action, target = chance.choice(people), chance.choice(actions), chance.choice(people)
        if len(town.roles) == 1 and action == "remove":
            continue  # the last one stays, or it would be over
        answer, wanted = town.step(actor, action, target)
        assert answer.status_code == wanted, (seed, number, action, answer.content)
    assert consistent(town.group) == set(town.roles)
    (member, *_) = [person for person in people if person.user_id in town.roles]
    assert roles(member, town.group) == town.roles
    for person in people:
        assert [event.seq for event in owed(person, town.group)] == town.owed.get(person.user_id, [])
    with transaction.atomic():
        speakers = {user for user, role in town.roles.items() if role != "member"}
        admin = next(person for person in people if person.user_id in speakers)
        admin.api.patch(f"/groups/{town.group}", {"settings": {"whoSends": "admins"}})
        assert store.conversations([town.group])[town.group].speakers == speakers
