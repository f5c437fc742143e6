"""GET /me/badge: unread messages of chats that are not muted, and mentions in those that are."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from chats import selectors
from delivery.store.sync import store
from delivery.store.values import Outcome, ReceiptWrite, Send
from tests.accounts.conftest import Api, Person, assert_problem
from tests.chats.conftest import open_direct
from tests.chats.test_flags import FOR_EVER, patch
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


def say(person: Person, conversation: str, count: int = 1, *mentions: Person) -> None:
    """As a gateway stores it, with what it writes behind."""
    sends = [
        Send(
            conversation=conversation,
            sender=person.user_id,
            device=person.device_id,
            message_id=str(uuid.uuid4()),
            kind="text",
            content=b"hello",
            body_hash=b"0" * 16,
            sent_at=1,
            mentions=[one.user_id for one in mentions],
        )
        for _ in range(count)
    ]
    with transaction.atomic():
        results = store.append(str(uuid.uuid4()), sends, now_ms()).results
    assert {result.outcome for result in results} == {Outcome.STORED}
    store.save([], [ReceiptWrite(conversation, person.user_id, sent=results[-1].seq)], now_ms())


def read(person: Person, conversation: str, up_to: int) -> None:
    store.save([], [ReceiptWrite(conversation, person.user_id, up_to, up_to)], now_ms())


def badge(person: Person) -> int:
    answer = person.api.get("/me/badge")
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"badge"}
    return int(answer.json()["badge"])


def test_it_counts_messages_of_others_that_are_not_read() -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    talk, group = open_direct(ann, bob), make(ann, bob, cat)
    assert (badge(ann), badge(bob)) == (0, 0)  # the events of the new group count nothing
    say(ann, talk, 3)
    say(cat, group, 2)
    assert [badge(person) for person in (ann, bob, cat)] == [2, 5, 0]
    read(bob, talk, 2)
    assert badge(bob) == 3
    say(bob, group)  # who writes has read
    assert [badge(person) for person in (ann, bob, cat)] == [3, 1, 1]
    assert_problem(Api().get("/me/badge"), "unauthenticated", 401)


def test_muted_and_archived_chats_count_mentions_only(clock: Callable[[int], None]) -> None:
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    group, talk = make(ann, bob, cat), open_direct(ann, bob)
    say(ann, group, 2)
    say(ann, group, 1, bob)
    say(ann, talk)
    assert badge(bob) == 4
    patch(bob, group, mutedUntil=now_ms() + 60_000)
    assert badge(bob) == 2
    clock(61_000)
    assert badge(bob) == 4
    patch(bob, group, archived=True)
    patch(bob, talk, mutedUntil=FOR_EVER)
    assert badge(bob) == 1
    assert badge(cat) == 3  # whom nobody mentioned, and who muted nothing
    patch(bob, talk, pinned=True, draft="eA==")
    assert badge(bob) == 1


def test_who_comes_back_to_a_group_is_not_counted_what_was_said_meanwhile() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    say(ann, group)
    assert ann.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 204
    say(ann, group, 5, bob)
    assert badge(bob) == 1  # what was said before is still there to be read
    assert ann.api.put(f"/groups/{group}/members/{bob.user_id}", {}).status_code == 200
    say(ann, group, 2)
    assert badge(bob) == 3
    patch(bob, group, mutedUntil=FOR_EVER)
    assert badge(bob) == 0


def test_it_costs_one_query_whatever_the_number_of_chats(django_assert_num_queries: Any) -> None:
    ann = sign_in()
    talks = []
    for _ in range(12):
        bob = sign_in()
        talks.append(open_direct(ann, bob))
        say(bob, talks[-1], 2, ann)
    for talk in talks[:6]:
        patch(ann, talk, mutedUntil=FOR_EVER)
    with django_assert_num_queries(1):
        assert selectors.badge(user_id=ann.user_id) == 6 * 2 + 6 * 2
    for talk in talks[3:9]:
        read(ann, talk, 1)
    assert badge(ann) == 3 * 2 + 3 * 1 + 3 * 1 + 3 * 2


def test_many_users_at_once() -> None:
    """As the push engine asks."""
    ann, bob, cat = sign_in(), sign_in(), sign_in()
    talk = open_direct(ann, bob)
    say(ann, talk, 2)
    nobody = str(uuid.uuid4())
    assert store.badges([ann.user_id, bob.user_id, cat.user_id, nobody], now_ms()) == {
        ann.user_id: 0, bob.user_id: 2, cat.user_id: 0, nobody: 0,
    }  # fmt: skip
    assert store.badges([], now_ms()) == {}
