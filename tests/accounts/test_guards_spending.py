"""Guards of registration against SMS pumping: conversion by prefix, caps of spending, and the switches of staff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.guards import prefixes, traffic
from accounts.guards.traffic import State
from accounts.models import LimitHit, SmsEvent, SmsPrefix, VerificationCode
from tests.accounts.conftest import assert_problem, code_for, give, messages_to, new_number, sign_in
from tests.accounts.guarding import ask, challenge_of, mobile, solve
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

MINUTE = 60_000


def history(prefix: str, sent: int, back: int, ago_ms: int = 30 * MINUTE, failed: int = 0) -> None:
    at = now_ms() - ago_ms
    for kind, number in (("sent", sent), ("verified", back), ("failed", failed)):
        SmsEvent.objects.bulk_create(
            SmsEvent(prefix=prefix, at=at, kind=kind, units=50 if kind == "sent" else 0)
            for _ in range(number)
        )


def test_codes_are_counted_by_prefix_as_they_go_out_and_come_back(clock: Callable[[int], None]) -> None:
    phone = mobile()
    assert ask(phone).status_code == 202
    clock(MINUTE)
    assert give(phone, code_for(phone)).status_code == 200
    sent_at = SmsEvent.objects.get(kind="sent").at
    assert list(SmsEvent.objects.order_by("kind").values_list("prefix", "kind", "at", "units")) == [
        ("49151", "sent", sent_at, 50),
        ("49151", "verified", sent_at, 0),
    ]
    sign_in()
    assert SmsEvent.objects.count() == 2, "nothing is sent to test numbers"


def test_a_centre_that_is_away_speaks_against_nobody(settings: Any) -> None:
    settings.SMS_SENDER = "accounts.sms.NoSender"
    assert_problem(ask(mobile()), "unavailable", 503)
    assert sorted(SmsEvent.objects.values_list("kind", "units")) == [("failed", 0), ("sent", 50)]
    history("49152", sent=40, back=0, failed=40)
    assert traffic.judge("+4915212345678", now_ms()).state is State.NORMAL


@pytest.mark.parametrize(
    ("sent", "back", "state"),
    [
        (29, 0, State.NORMAL), (100, 50, State.NORMAL), (100, 49, State.SLOWED), (100, 30, State.SLOWED),
        (100, 29, State.CHALLENGED), (100, 10, State.CHALLENGED), (100, 9, State.BLOCKED), (30, 0, State.BLOCKED),
    ],
)  # fmt: skip
def test_conversion_judges_a_prefix(sent: int, back: int, state: State) -> None:
    history("49151", sent, back)
    assert traffic.judge(mobile(), now_ms()).state is state
    assert traffic.judge(mobile("+49160"), now_ms()).state is State.NORMAL, "another prefix"


def test_codes_that_may_still_come_back_say_nothing() -> None:
    history("49151", 100, 0, ago_ms=9 * MINUTE)
    assert traffic.judge(mobile(), now_ms()).state is State.NORMAL


def test_a_slowed_prefix_gets_few_an_hour(limits: Callable[..., None]) -> None:
    limits(sms_slowed_per_hour=2)
    history("49151", 100, 40)
    assert [ask(mobile()).status_code for _ in range(2)] == [202, 202]
    assert_problem(ask(mobile()), "rate_limited", 429)
    assert ask(mobile("+49160")).status_code == 202


def test_a_challenged_prefix_has_to_solve(settings: Any, limits: Callable[..., None]) -> None:
    settings.REGISTRATION_CHALLENGE = "suspicious"
    limits(work_bits=4)
    history("49151", 100, 20)
    phone = mobile()
    assert ask(phone, solve(challenge_of(ask(phone)))).status_code == 202


def test_a_blocked_prefix_opens_again_and_is_watched(clock: Callable[[int], None]) -> None:
    history("49151", 100, 0)
    phone = mobile()
    wait = assert_problem(ask(phone), "unavailable", 503)["retryAfterMs"]
    assert 3 * 60 * MINUTE < wait <= 4 * 60 * MINUTE
    assert messages_to(phone) == []
    row = SmsPrefix.objects.get()
    assert (row.prefix, row.mode, row.by) == ("49151", "auto", "automatic")
    SmsEvent.objects.all().delete()
    assert_problem(ask(phone), "unavailable", 503)
    clock(wait + 1)
    assert ask(phone).status_code == 202
    later = now_ms() + wait + 1
    assert traffic.judge(phone, later).state is State.CHALLENGED, "it has to show itself first"
    assert traffic.judge(phone, later + traffic.WINDOW_MS).state is State.NORMAL


def test_sessions_of_a_blocked_prefix_live_on() -> None:
    phone = mobile()
    person = sign_in(phone)
    SmsPrefix.objects.create(prefix="", mode="off", changed_at=now_ms())
    assert person.api.get("/me").status_code == 200
    assert_problem(ask(mobile()), "unavailable", 503)


@pytest.mark.parametrize("prefix", ["", "4", "49", "49151", "491511"])
def test_the_switch_of_a_prefix(prefix: str) -> None:
    SmsPrefix.objects.create(prefix=prefix, mode="off", changed_at=now_ms())
    assert_problem(ask("+4915112345678"), "unavailable", 503)
    others = ask("+4915122345678").status_code
    assert others == (202 if prefix == "491511" else 503)


def test_a_prefix_that_staff_trust_is_not_judged_but_paid_for(limits: Callable[..., None]) -> None:
    history("49151", 100, 0)
    SmsPrefix.objects.create(prefix="49", mode="on", changed_at=now_ms())
    assert ask(mobile()).status_code == 202
    limits(sms_units_per_prefix_day=100)
    assert_problem(ask(mobile()), "unavailable", 503)


def test_caps_of_spending(
    settings: Any, tmp_path: Path, limits: Callable[..., None], clock: Callable[[int], None]
) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"": 10, "+49": 70}))
    settings.SMS_PRICES = str(file)
    limits(sms_units_per_prefix_day=140, sms_units_per_day=225)
    assert [ask(mobile()).status_code for _ in range(3)] == [202, 202, 503], "140 of the prefix"
    assert ask(mobile("+49160")).status_code == 202
    assert ask("+14155552671").status_code == 202
    assert_problem(ask("+14155552672"), "unavailable", 503)
    assert ask(new_number()).status_code == 202, "costs nothing"
    clock(24 * 60 * MINUTE)
    assert ask(mobile()).status_code == 202


def test_without_its_table_of_prices_nothing_is_sent(settings: Any, tmp_path: Path) -> None:
    settings.SMS_PRICES = str(tmp_path / "none.json")
    phone = mobile()
    for text in (None, "[]", '{"49": "much"}', "{"):
        if text is not None:
            (tmp_path / "none.json").write_text(text)
        assert_problem(ask(phone), "unavailable", 503)
    assert messages_to(phone) == []


def test_prefixes() -> None:
    assert prefixes.prefix_of("+4915112345678") == "49151"
    assert prefixes.prefix_of("+14155552671") == "1415"
    assert prefixes.prefix_of("+390612345678") == "39061"
    assert prefixes.beginnings("+491") == ["491", "49", "4", ""]


def test_nothing_personal_is_kept() -> None:
    phone = mobile()
    ask(phone)
    VerificationCode.objects.all().delete()
    kept = repr([*SmsEvent.objects.values(), *SmsPrefix.objects.values(), *LimitHit.objects.values()])
    assert phone[4:] not in kept
