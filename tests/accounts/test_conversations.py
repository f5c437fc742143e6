"""/conversations over REST: what the engine's log shows to whom."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from django.db import transaction

from delivery.ids import conversation_id, region_of, uuid7
from delivery.store.sync import store
from delivery.store.values import Outcome, ReceiptWrite, Send
from tests.accounts.conftest import Api, Person, assert_problem, parallel, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def open_direct(person: Person, other: Person) -> str:
    answer = person.api.put(f"/conversations/direct/{other.user_id}")
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"conversationId"}
    for one, who in ((person, other), (other, person)):  # they know each other
        with transaction.atomic():
            store.accept(one.user_id, 1, others=[who.user_id])
    return str(answer.json()["conversationId"])


def append(person: Person, conversation: str, *texts: str) -> list[str]:
    """Messages straight into the log, as a gateway stores them; their ids."""
    sends = [
        Send(
            conversation=conversation,
            sender=person.user_id,
            device=person.device_id,
            message_id=str(uuid.uuid4()),
            kind="text",
            content=text.encode(),
            body_hash=hashlib.md5(text.encode()).digest(),
            sent_at=1_700_000_000_000,
        )
        for text in texts
    ]
    with transaction.atomic():
        result = store.append(str(uuid.uuid4()), sends, now_ms())
    assert [done.outcome for done in result.results] == [Outcome.STORED] * len(sends)
    return [send.message_id for send in sends]


# -- ids ------------------------------------------------------------------------------------------------------------------


def test_a_conversation_id_tells_time_kind_and_region() -> None:
    made = uuid.UUID(conversation_id(1_700_000_000_123, "group", 1023))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123
    assert made.int >> 74 & 0b11 == 1
    assert region_of(str(made)) == 1023
    assert region_of(conversation_id(1, "direct", 5)) == 5
    assert uuid.UUID(uuid7(1_700_000_000_123)).version == 7
    assert len({conversation_id(1, "direct") for _ in range(1_000)}) == 1_000
    with pytest.raises(ValueError):
        conversation_id(1, "direct", 1024)


# -- PUT /conversations/direct/{userId} ------------------------------------------------------------------------------------


def test_a_direct_conversation_is_one_from_both_sides() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    assert open_direct(ann, bob) == conversation
    assert open_direct(bob, ann) == conversation
    assert uuid.UUID(conversation).version == 8
    (item,) = ann.api.get("/conversations").json()["items"]
    assert (item["kind"], item["peerId"]) == ("direct", bob.user_id)
    assert bob.api.get("/conversations").json()["items"][0]["peerId"] == ann.user_id


def test_a_direct_conversation_needs_another_existing_user() -> None:
    ann = sign_in()
    assert_problem(ann.api.put(f"/conversations/direct/{ann.user_id}"), "bad_request", 400)
    assert_problem(ann.api.put(f"/conversations/direct/{uuid.uuid4()}"), "not_found", 404)
    assert ann.api.get("/conversations").json() == {"items": []}


@pytest.mark.django_db(transaction=True)
def test_both_users_opening_it_at_once_get_one_id() -> None:
    ann, bob = sign_in(), sign_in()
    turns = iter([(ann, bob), (bob, ann)] * 4)
    answers = parallel(8, lambda: (lambda pair: open_direct(*pair))(next(turns)))
    assert len(answers) == 8
    assert len(set(answers)) == 1


# -- GET /conversations ----------------------------------------------------------------------------------------------------


def test_the_list_shows_head_unread_receipts_and_the_last_event() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    empty = {
        "conversationId": conversation, "kind": "direct", "peerId": bob.user_id,
        "groupId": None, "name": None, "role": None, "memberCount": None, "icon": None,
        "mutedUntil": None, "pinned": False, "archived": False, "draft": None, "flagsVersion": 0,
        "head": 0, "unread": 0, "mentioned": 0, "timer": None, "request": False, "lastEvent": None,
        "delivered": 0, "read": 0,
    }  # fmt: skip
    assert ann.api.get("/conversations").json() == {"items": [empty]}
    append(ann, conversation, "one", "two", "three")
    store.save([], [ReceiptWrite(conversation, bob.user_id, delivered=2, read=1)], now_ms())
    (item,) = bob.api.get("/conversations").json()["items"]
    assert (item["head"], item["unread"], item["delivered"], item["read"]) == (3, 2, 2, 1)
    assert item["lastEvent"]["type"] == "message"
    assert (item["lastEvent"]["seq"], item["lastEvent"]["senderId"]) == (3, ann.user_id)


def test_the_list_comes_in_pages() -> None:
    ann = sign_in()
    made = sorted(open_direct(ann, sign_in()) for _ in range(5))
    seen, path = [], "/conversations?limit=2"
    while path:
        body = ann.api.get(path).json()
        assert len(body["items"]) <= 2
        seen += [item["conversationId"] for item in body["items"]]
        path = f"/conversations?limit=2&after={body['next']}" if "next" in body else ""
    assert seen == made


def test_since_leaves_out_what_was_quiet() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    active = open_direct(ann, bob)
    open_direct(ann, eve)
    append(bob, active, "hi")
    items = ann.api.get(f"/conversations?since={now_ms() - 60_000}").json()["items"]
    assert [item["conversationId"] for item in items] == [active]
    assert ann.api.get(f"/conversations?since={now_ms() + 60_000}").json()["items"] == []


def test_nobody_sees_other_peoples_conversations() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    append(ann, open_direct(ann, bob), "secret")
    assert eve.api.get("/conversations").json() == {"items": []}


# -- GET /conversations/{id}/events ----------------------------------------------------------------------------------------


def test_events_look_as_on_the_socket() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    (message_id,) = append(ann, conversation, "hello")
    body = bob.api.get(f"/conversations/{conversation}/events").json()
    assert (body["through"], body["head"]) == (1, 1)
    (event,) = body["items"]
    assert event.pop("serverTimestamp") == pytest.approx(now_ms(), abs=60_000)
    assert event == {
        "type": "message",
        "messageId": message_id,
        "conversationId": conversation,
        "senderId": ann.user_id,
        "senderDeviceId": ann.device_id,
        "seq": 1,
        "encryptedContent": "aGVsbG8=",
        "timestamp": 1_700_000_000_000,
        "kind": "text",
    }


def test_events_are_read_forwards_and_backwards() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    append(ann, conversation, *(str(number) for number in range(1, 8)))
    path = f"/conversations/{conversation}/events"

    def page(query: str) -> tuple[list[int], str | None]:
        body = bob.api.get(f"{path}?{query}").json()
        return [item["seq"] for item in body["items"]], body.get("next")

    assert page("limit=3") == ([1, 2, 3], "3")
    assert page("limit=3&after=3") == ([4, 5, 6], "6")
    assert page("limit=3&after=6") == ([7], None)
    assert page("after=7") == ([], None)
    assert page("limit=3&before=8") == ([5, 6, 7], "5")
    assert page("limit=3&before=5") == ([2, 3, 4], "2")
    assert page("limit=3&before=2") == ([1], None)


def test_a_page_of_events_has_at_most_a_hundred() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    append(ann, conversation, *(str(number) for number in range(101)))
    body = bob.api.get(f"/conversations/{conversation}/events?limit=5000").json()
    assert len(body["items"]) == 100
    assert body["next"] == "100"


def test_reading_moves_no_receipt_and_no_position() -> None:
    ann, bob = sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    append(ann, conversation, "hello")
    bob.api.get(f"/conversations/{conversation}/events")
    (item,) = bob.api.get("/conversations").json()["items"]
    assert (item["unread"], item["delivered"], item["read"]) == (1, 0, 0)
    assert store.positions(bob.user_id, bob.device_id, [conversation])[conversation].acked == 0


def test_an_outsider_cannot_tell_a_conversation_from_none() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    append(ann, conversation, "secret")
    real = assert_problem(eve.api.get(f"/conversations/{conversation}/events"), "not_found", 404)
    none = assert_problem(eve.api.get(f"/conversations/{uuid.uuid4()}/events"), "not_found", 404)
    assert real == none
    assert_problem(Api().get(f"/conversations/{conversation}/events"), "unauthenticated", 401)


def test_the_sender_of_a_message_is_told_who_has_it() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    conversation = open_direct(ann, bob)
    first, second = append(ann, conversation, "one", "two")
    store.save([], [ReceiptWrite(conversation, bob.user_id, 2, 1)], now_ms())
    where = f"/conversations/{conversation}/messages"
    for message, status in ((first, "read"), (second, "delivered")):
        answer = ann.api.get(f"{where}/{message}/receipts")
        assert answer.json() == {"items": [{"userId": bob.user_id, "status": status}]}
    assert_problem(bob.api.get(f"{where}/{first}/receipts"), "forbidden", 403)
    for stranger, message in ((eve, first), (ann, uuid.uuid4())):
        assert_problem(stranger.api.get(f"{where}/{message}/receipts"), "not_found", 404)


@pytest.mark.parametrize(
    ("query", "field"),
    [("after=x", "after"), ("before=-1", "before"), ("limit=0", "limit"), ("after=1&before=3", "before")],
)
def test_parameters_are_checked(query: str, field: str) -> None:
    ann, bob = sign_in(), sign_in()
    answer = ann.api.get(f"/conversations/{open_direct(ann, bob)}/events?{query}")
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}


def test_reads_cost_few_queries_whatever_their_length(django_assert_max_num_queries: Any) -> None:
    ann = sign_in()
    for _ in range(4):
        bob = sign_in()
        conversation = open_direct(ann, bob)
        append(bob, conversation, *(str(number) for number in range(20)))
    with django_assert_max_num_queries(3):  # the token is one
        assert len(ann.api.get("/conversations").json()["items"]) == 4
    with django_assert_max_num_queries(4):
        assert len(ann.api.get(f"/conversations/{conversation}/events").json()["items"]) == 20
