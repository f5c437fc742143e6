"""POST /reports: what the reporters' copies are worth, and how who changes one is found out."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Case, ReportedMessage
from delivery.franking import Verdict
from delivery.store.sync import store
from tests.accounts.conftest import Person, assert_problem
from tests.chats.reporting import DAY_MS, ask, made, say, text, verdicts
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "change",
    [
        {"content": text(b"something else")},
        {"kind": "poll"},
        {"replyTo": str(uuid.UUID(int=7))},
        {"mediaUrl": "https://example.org/"},
        {"serverTimestamp": 1_700_000_000_000},
        {"frankingKey": text(bytes(32))},
        {"franking": text(bytes(32))},
        {"frankingTag": text(bytes(40))},
        {"frankingTag": ""},
        {"senderDeviceId": str(uuid.UUID(int=7))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_who_changes_anything_of_a_franked_message_is_found_out(
    ann: Person, bob: Person, chat: str, change: dict[str, Any]
) -> None:
    good, bad = say(bob, chat), say(bob, chat)
    report = made(ask(ann, chat, category="child_safety", messages=[good.copy(), bad.copy(**change)]))
    assert verdicts(report) == ["verified", "forged"]
    assert (report.verdict, report.weight, report.counts) == ("forged", 0, False)
    case = Case.objects.get(subject=bob.user_id)
    assert (case.priority, case.weight, case.report_count, case.category) == (0, 0, 0, "other")
    assert made(ask(ann, chat, messages=[good.copy()])).weight == 40  # the next one counts less


def test_words_of_one_are_not_anothers(ann: Person, bob: Person) -> None:
    eve = sign_in()
    group = make(bob, ann, eve)
    sent = say(bob, group)
    for franked in (True, False):
        report = made(
            ask(ann, group, messages=[sent.copy(franked=franked, senderId=eve.user_id)], userId=eve.user_id)
        )
        assert verdicts(report) == ["forged"]


def test_without_franking_nothing_is_proven_unless_the_log_says_the_same(
    ann: Person, bob: Person, chat: str
) -> None:
    hidden, seen = say(bob, chat), say(bob, chat, encrypted=False)
    assert verdicts(made(ask(ann, chat, messages=[hidden.copy(franked=False)]))) == ["unverifiable"]
    assert verdicts(made(ask(ann, chat, messages=[seen.copy(franked=False)]))) == ["verified"]
    other = hidden.copy(franked=False, content=text(b"what he did not write"))
    assert verdicts(made(ask(ann, chat, messages=[other]))) == ["unverifiable"]


def test_words_that_the_server_can_read_are_found_to_be_changed(ann: Person, bob: Person, chat: str) -> None:
    seen = say(bob, chat, encrypted=False)
    changed = seen.copy(franked=False, content=text(b"what he did not write"))
    report = made(ask(ann, chat, category="child_safety", messages=[changed]))
    assert (report.verdict, report.counts) == ("forged", False)
    assert Case.objects.get(subject=bob.user_id).priority == 0


def test_a_report_is_proven_by_what_the_accused_wrote_alone(ann: Person, bob: Person, chat: str) -> None:
    copies = [say(ann, chat).copy(), say(bob, chat).copy(franked=False)]
    report = made(ask(ann, chat, messages=copies))
    assert (verdicts(report), report.verdict) == (["verified", "unverifiable"], "unverifiable")
    assert not Case.objects.get(subject=bob.user_id).verified


def test_a_message_that_has_expired_is_still_proven(ann: Person, bob: Person, chat: str) -> None:
    old = say(bob, chat, at=now_ms() - LIMITS.retention_ms - DAY_MS)
    with transaction.atomic():
        while store.expire(now_ms(), LIMITS.retention_ms):
            continue
    assert store.find(chat, old.message_id) == 0
    assert verdicts(made(ask(ann, chat, messages=[old.copy()]))) == ["verified"]
    assert verdicts(made(ask(ann, chat, messages=[old.copy(franked=False)]))) == ["unverifiable"]


def test_a_message_that_was_never_sent_is_no_evidence(ann: Person, bob: Person, chat: str) -> None:
    never = replace(say(bob, chat), message_id=str(uuid.uuid4()))
    assert_problem(ask(ann, chat, messages=[never.copy()]), "not_found", 404)


def test_every_verdict_of_the_franking_can_be_stored() -> None:
    assert {each.value for each in Verdict} == set(ReportedMessage.Verdict.values)
