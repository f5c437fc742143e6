"""Guards of registration when many come at once: no cap is overrun, no proof is good twice. Each has a twin that
fails with its lock off."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any

import pytest
from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.guards import traffic, work
from accounts.models import SmsEvent
from accounts.services import guards
from tests.accounts.conftest import parallel
from tests.support.waiting import Beside, until_it_waits_or_ends
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)

PHONES = [f"+4915{number}" for number in range(112345670, 112345678)]


def spend_at_once() -> int:
    """How many of eight were let through, by what they were told."""
    turns = itertools.count()
    now = now_ms()

    def one() -> bool:
        try:
            guards.spend(phone=PHONES[next(turns)], now=now)
        except Refused:
            return False
        return True

    return sum(parallel(len(PHONES), one))


@pytest.mark.parametrize("cap", ["sms_units_per_prefix_day", "sms_units_per_day"])
def test_no_cap_is_overrun_by_who_come_at_once(monkeypatch: pytest.MonkeyPatch, cap: str) -> None:
    monkeypatch.setattr(LIMITS, cap, 3 * 50)
    assert spend_at_once() == 3
    assert SmsEvent.objects.count() == 3


def test_twin_without_its_lock_a_cap_is_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "sms_units_per_prefix_day", 3 * 50)
    monkeypatch.setattr(traffic, "subject_hash", lambda scope, name: os.urandom(32))  # everybody another one
    barrier, mine, counted = threading.Barrier(len(PHONES)), threading.local(), traffic.spent

    def spent(prefix: str, now: int) -> int:
        found = counted(prefix, now)
        mine.asked = getattr(mine, "asked", 0) + 1
        if mine.asked == 4:  # the prefix's, in the try that is alone
            barrier.wait(30)
        return found

    monkeypatch.setattr(traffic, "spent", spent)
    assert spend_at_once() == len(PHONES)


def test_far_from_a_cap_nobody_waits_for_the_transaction_of_another() -> None:
    now = now_ms()
    told: list[Any] = []
    with transaction.atomic():
        guards.spend(phone=PHONES[0], now=now)
        told += parallel(1, lambda: guards.spend(phone=PHONES[1], now=now))
    assert told == [None]


def test_near_a_cap_who_waits_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "sms_units_per_prefix_day", 3 * 50)
    monkeypatch.setattr(traffic, "_WAIT_MS", 50)
    now = now_ms()

    def refused() -> str:
        with pytest.raises(Refused) as raised:
            guards.spend(phone=PHONES[1], now=now)
        return str(raised.value.code)

    with transaction.atomic():
        guards.spend(phone=PHONES[0], now=now)
        assert parallel(1, refused) == ["unavailable"]


def proofs_of_two() -> list[bool]:
    """One has used a proof and not committed when another one brings it."""
    now, who = now_ms(), {"phone": PHONES[0], "address": "192.0.2.7"}
    challenge = work.issue(**who, now=now)
    answer = next(
        answer
        for number in itertools.count()
        if work.solves(answer := f"{challenge['seed']}:{number}", challenge["bits"])
    )
    thread = Beside(lambda: work.accept(answer, **who, now=now))
    with transaction.atomic():
        first = work.accept(answer, **who, now=now)
        thread.start()
        until_it_waits_or_ends(thread)
    thread.join()
    return [first, *thread.answers]


def test_of_two_who_bring_one_proof_at_once_one_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "work_bits", 4)
    assert proofs_of_two() == [True, False]


def test_twin_without_its_lock_both_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "work_bits", 4)
    monkeypatch.setattr(limits, "lock_hash", lambda hashed: None)
    assert proofs_of_two() == [True, True]
