"""Message requests over HTTP: who is a stranger when the conversation is made, what ends it, and the limit of new ones."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from delivery.store.sync import store
from tests.accounts.conftest import Person, assert_problem, parallel, sign_in
from tests.accounts.test_conversations import append
from tests.chats.conftest import listed, open_direct
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db


def unaccepted(conversation: str) -> frozenset[str]:
    return store.conversations([conversation])[conversation].unaccepted


def add(person: Person, other: Person) -> None:
    assert person.api.put(f"/contacts/{other.user_id}", {}).status_code == 200


def test_who_is_no_contact_when_the_conversation_is_made_is_a_stranger() -> None:
    ann, bob, cat, dan = (sign_in() for _ in range(4))
    talk = open_direct(ann, bob, strangers=True)
    assert unaccepted(talk) == {ann.user_id, bob.user_id}
    add(cat, ann)
    assert unaccepted(open_direct(ann, cat, strangers=True)) == {ann.user_id}
    add(dan, ann)
    dan.api.delete(f"/contacts/{ann.user_id}")
    assert dan.user_id in unaccepted(open_direct(ann, dan, strangers=True))


def test_an_acceptance_is_idempotent_and_for_nobody_else(told: Any) -> None:
    ann, bob, eve = (sign_in() for _ in range(3))
    talk = open_direct(ann, bob, strangers=True)
    append(ann, talk, "hello?")
    item = listed(bob, talk)
    assert item is not None
    assert (item["request"], item["lastEvent"]["type"]) == (True, "message")
    assert_problem(eve.api.patch(f"/conversations/{talk}", {"accepted": True}), "not_found", 404)
    for wrong in (False, None, 1, "true"):
        assert_problem(bob.api.patch(f"/conversations/{talk}", {"accepted": wrong}), "bad_request", 400)
    assert bob.user_id in unaccepted(talk)
    for _ in range(2):
        assert bob.api.patch(f"/conversations/{talk}", {"accepted": True}).status_code == 200
        assert unaccepted(talk) == {ann.user_id}
    item = listed(bob, talk)
    assert item is not None
    assert item["request"] is False


def test_who_is_added_by_an_address_book_is_accepted() -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob, strangers=True)
    add(bob, ann)
    assert unaccepted(talk) == {ann.user_id}
    add(ann, bob)
    assert unaccepted(talk) == frozenset()


@pytest.mark.django_db(transaction=True)
def test_a_contact_that_is_added_while_the_conversation_is_made_is_none() -> None:
    for _ in range(6):
        ann, bob = sign_in(), sign_in()
        turns = iter([lambda: open_direct(ann, bob, strangers=True), lambda: add(bob, ann)])  # noqa: B023
        parallel(2, lambda: next(turns)())  # noqa: B023
        assert unaccepted(open_direct(ann, bob, strangers=True)) == {ann.user_id}


def test_new_conversations_are_limited_and_old_ones_are_not(limits: Any) -> None:
    limits(first_contacts_per_hour=2)
    assert LIMITS.first_contacts_per_hour == 2
    ann = sign_in()
    friend, *others = (sign_in() for _ in range(3))
    add(friend, ann)
    made = [open_direct(ann, other, strangers=True) for other in others]
    # Also with who has the caller as a contact, or the limit would tell.
    for other in (friend, sign_in()):
        refused = ann.api.put(f"/conversations/direct/{other.user_id}")
        assert_problem(refused, "rate_limited", 429)
        assert int(refused["Retry-After"]) > 0
    assert [open_direct(ann, other, strangers=True) for other in others] == made
    assert_problem(ann.api.put(f"/conversations/direct/{uuid.uuid4()}"), "not_found", 404)
    # Nothing of a refused one is left.
    assert open_direct(friend, ann, strangers=True)
    assert len(ann.api.get("/conversations").json()["items"]) == 3
