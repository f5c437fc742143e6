"""Whoever does harm and ends the account is reported still, until the erasure is done: what is decided holds for the number."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import Account, Case, Erasure, Report
from accounts.own_stores import AccountStore
from accounts.services import persons
from tests.accounts.conftest import Person, assert_problem
from tests.accounts.test_carried import end
from tests.chats.conftest import open_direct
from tests.chats.reporting import ask, say
from tests.groups.conftest import sign_in
from tests.support.patience import PATIENCE
from tests.support.waiting import Beside, until_it_waits_or_ends
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


def ended(person: Person) -> None:
    with transaction.atomic():
        end(person)


@pytest.mark.parametrize("kind", ["user", "message"])
def test_an_account_that_has_ended_is_reported(ann: Person, bob: Person, kind: str) -> None:
    chat = open_direct(bob, ann)
    sent = say(bob, chat)
    ended(bob)
    fields: dict[str, Any] = {"userId": bob.user_id} if kind == "user" else {"messages": [sent.copy()]}
    answer = ask(ann, chat, kind=kind, block=True, **fields)
    assert answer.status_code == 201, answer.content
    assert answer.json()["blocked"] is False, "there is nobody left to block"
    made = Report.objects.get(pk=answer.json()["reportId"])
    assert str(made.reported) == bob.user_id
    assert Case.objects.get(pk=made.case_id).subject == made.reported


def test_not_one_that_is_gone_or_was_never_met(ann: Person, bob: Person) -> None:
    chat, other = open_direct(bob, ann), sign_in()
    ended(other)
    assert_problem(ask(ann, chat, kind="user", userId=other.user_id), "not_found", 404)
    Account.objects.filter(pk=bob.user_id).delete()
    assert_problem(ask(ann, chat, kind="user", userId=bob.user_id), "not_found", 404)


def _while_it_is_erased(ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, int]:
    """The report comes when the last step of the erasure has looked for reports, and has not taken the account. Its answer, and
    what the step says."""
    chat = open_direct(bob, ann)
    ended(bob)
    answers: list[Any] = []
    real = AccountStore._forget_in_reports

    def run() -> None:
        try:
            answers.append(ask(ann, chat, kind="user", userId=bob.user_id))
        finally:
            connection.close()

    thread = threading.Thread(target=run)

    def looked(store: AccountStore, user: uuid.UUID, now: int) -> None:
        real(store, user, now)
        if not answers:
            thread.start()
            thread.join(PATIENCE)

    monkeypatch.setattr(AccountStore, "_forget_in_reports", looked)
    erasure = Erasure.objects.get(user=bob.user_id)
    assert erasure.identifiers is not None
    person = persons.unseal(bytes(erasure.identifiers), bob.user_id)
    said = AccountStore().erase(person, now=now_ms())
    thread.join()
    return answers[0], said


def test_a_report_that_comes_while_it_is_erased_keeps_nothing_of_it(
    ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, said = _while_it_is_erased(ann, bob, monkeypatch)
    assert answer.status_code == 201
    assert said, "the step comes again"
    assert Account.objects.filter(pk=bob.user_id).exists()
    erasure = Erasure.objects.get(user=bob.user_id)
    person = persons.unseal(bytes(erasure.identifiers or b""), bob.user_id)
    for _ in range(10):
        if not AccountStore().erase(person, now=now_ms()):
            break
    assert not Account.objects.filter(pk=bob.user_id).exists()
    assert Report.objects.get(pk=answer.json()["reportId"]).reported is None
    assert not Case.objects.filter(subject=bob.user_id).exists()


def test_a_report_waits_for_the_last_step_and_finds_nobody(ann: Person, bob: Person) -> None:
    chat = open_direct(bob, ann)
    ended(bob)
    thread = Beside(lambda: ask(ann, chat, kind="user", userId=bob.user_id))
    with transaction.atomic():
        Account.objects.select_for_update().get(pk=bob.user_id)
        thread.start()
        until_it_waits_or_ends(thread)
        Account.objects.filter(pk=bob.user_id).delete()
    thread.join()
    assert_problem(thread.answers[0], "not_found", 404)
    assert not Report.objects.filter(reported=bob.user_id).exists()


def test_a_decision_does_not_wait_for_a_report_nor_that_for_it(ann: Person, bob: Person) -> None:
    """A decision locks the case, then the account; a report names the account, then writes to the case."""
    chat = open_direct(bob, ann)
    thread = Beside(lambda: ask(ann, chat, kind="user", userId=bob.user_id))
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=bob.user_id)
        thread.start()
        thread.join(PATIENCE)
        assert thread.answers
        assert thread.answers[0].status_code == 201
