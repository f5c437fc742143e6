"""POST /reports: limits, repeats, bad input; and what one may do along with a report: block and leave."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from accounts.models import Account, Block, Case, KeptAnswer, Report
from accounts.services.blocks import MAX_BLOCKS
from tests.accounts.conftest import Person, assert_problem, parallel
from tests.chats.conftest import open_direct
from tests.chats.reporting import ask, made, say
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)


# -- limits, repeats, bad input -------------------------------------------------------------------------------------------


def test_reports_are_limited_by_hour_and_day(
    ann: Person, bob: Person, chat: str, limits: Any, clock: Any
) -> None:
    limits(reports_per_hour=2, reports_per_day=3)
    for _ in range(2):
        made(ask(ann, chat, "user", userId=bob.user_id))
    answer = assert_problem(ask(ann, chat, "user", userId=bob.user_id), "rate_limited", 429)
    assert 0 < answer["retryAfterMs"] <= 3_600_000
    clock(3_600_000)
    # What the limit refuses does not count; what is refused for another reason does.
    ann_later = _again(ann)
    assert_problem(ask(ann_later, chat, "user", userId=str(uuid.uuid4())), "not_found", 404)
    assert_problem(ask(ann_later, chat, "user", userId=bob.user_id), "rate_limited", 429)


def _again(person: Person) -> Person:
    """With a token of now: the clock went on."""
    from accounts.models import Device
    from accounts.services.sessions import start_session

    tokens = start_session(device=Device.objects.get(pk=person.device_id), now=now_ms() + 3_600_000)
    return replace(person, token=tokens.token)


def test_a_report_is_small(ann: Person, bob: Person, chat: str, limits: Any) -> None:
    copies = [say(bob, chat).copy() for _ in range(LIMITS.report_messages + 1)]
    assert_problem(ask(ann, chat, messages=copies), "bad_request", 400)
    limits(report_bytes=10)
    assert_problem(ask(ann, chat, messages=[say(bob, chat, b"x" * 11).copy()]), "too_large", 413)
    made(ask(ann, chat, messages=[say(bob, chat, b"x" * 10).copy()]))


def test_what_does_not_belong_together_is_refused(ann: Person, bob: Person, chat: str) -> None:
    copy = say(bob, chat).copy()
    for fields in (
        {"messages": [copy, copy]},
        {"messages": [{**copy, "conversationId": str(uuid.uuid4())}]},
        {"messages": [copy], "leave": True},
        {"messages": [copy], "category": "boredom"},
        {"messages": [copy], "note": "x" * 2_001},
        {"messages": [{**copy, "frankingKey": "AA=="}]},
        {"kind": "media"},
        {"kind": "everything"},
    ):
        assert_problem(ask(ann, chat, **fields), "bad_request", 400)
    assert not Report.objects.filter(reporter=ann.user_id).exists()


def test_a_repeat_is_the_first_one(ann: Person, bob: Person, chat: str) -> None:
    body = {"kind": "user", "category": "spam", "conversationId": chat, "userId": bob.user_id, "block": True}
    headers = {"X-Idempotency-Key": str(uuid.uuid4())}
    answers = [ann.api.post("/reports", body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Report.objects.filter(reporter=ann.user_id).count() == 1
    assert KeptAnswer.objects.count() >= 1


def test_ten_people_at_once_flag_one(bob: Person) -> None:
    people = [sign_in() for _ in range(10)]
    chats = [open_direct(bob, person) for person in people]
    pairs = iter(zip(people, chats, strict=True))

    def one() -> int:
        person, chat = next(pairs)
        return int(ask(person, chat, "user", userId=bob.user_id).status_code)

    assert parallel(10, one) == [201] * 10
    case = Case.objects.get(subject=bob.user_id)
    assert (case.report_count, case.flagged_at is not None) == (10, True)


# -- block, leave ---------------------------------------------------------------------------------------------------------


def test_report_block_and_leave_in_one(ann: Person, bob: Person, chat: str) -> None:
    group = make(bob, ann)
    answer = ask(ann, group, messages=[say(bob, group).copy()], block=True, leave=True)
    assert answer.status_code == 201, answer.content
    assert (answer.json()["blocked"], answer.json()["left"]) == (True, True)
    assert Block.objects.filter(owner_id=ann.user_id, user_id=bob.user_id).exists()
    assert_problem(ann.api.get(f"/groups/{group}"), "not_found", 404)
    assert_problem(ask(ann, chat, "group", block=True), "bad_request", 400)


def test_a_full_list_of_blocks_does_not_keep_a_report_out(ann: Person, bob: Person, chat: str) -> None:
    others = Account.objects.bulk_create(Account() for _ in range(MAX_BLOCKS))
    Block.objects.bulk_create(Block(owner_id=ann.user_id, user=other, at=1) for other in others)
    answer = ask(ann, chat, "user", userId=bob.user_id, block=True)
    assert answer.json()["blocked"] is False
    assert made(answer)
