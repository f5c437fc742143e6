"""Registrations in the admin: what staff see of codes by prefix, and the switches."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from accounts.guards import overview, traffic
from accounts.guards.traffic import State
from accounts.models import SmsEvent, SmsPrefix
from tests.accounts.conftest import Api
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff.models import AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

PAGE, SWITCH = "/admin/registrations/", "/admin/registrations/switch/"
VIEW, CHANGE = "accounts.view_smsprefix", "accounts.change_smsprefix"
PHONE = "+4915112345678"


def history(prefix: str, sent: int, back: int, failed: int = 0) -> None:
    at = now_ms() - 1_800_000
    for kind, number in (("sent", sent), ("verified", back), ("failed", failed)):
        SmsEvent.objects.bulk_create(
            SmsEvent(prefix=prefix, at=at, kind=kind, units=50 if kind == "sent" else 0)
            for _ in range(number)
        )


def ask() -> int:
    answer = Api().post("/auth/register", {"phoneNumber": PHONE}, REMOTE_ADDR="192.0.2.7")
    return int(answer.status_code)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_prefixes_are_shown_with_what_became_of_their_codes(superuser: Staff) -> None:
    history("49151", sent=100, back=40)
    history("49160", sent=40, back=38)
    history("1415", sent=50, back=10, failed=30)
    page = text_of(superuser.page(PAGE))
    assert "+49151 slowed 100 100 40 40 % 5,000" in page
    assert "+49160 normal 40 40 38 95 % 2,000" in page
    assert "+1415 normal 50 20 10 50 % 2,500" in page
    assert "9,500 of 5,000,000 units" in page
    page = text_of(superuser.page(f"{PAGE}?q=%2B49"))
    assert "+49160" in page
    assert "+1415" not in page
    assert "No code was sent to such a number" in superuser.page(f"{PAGE}?q=33")


def test_the_page_says_the_state_that_a_request_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    history("49151", sent=100, back=5)
    history("49152", sent=100, back=20)
    history("49160", sent=100, back=90)
    history("49170", sent=100, back=90)
    history("49171", sent=100, back=0)
    monkeypatch.setattr(LIMITS, "sms_units_per_prefix_day", 5_050)
    history("49173", sent=2, back=0)
    SmsPrefix.objects.create(prefix="4917", mode="off", changed_at=now_ms())
    SmsPrefix.objects.create(prefix="49171", mode="on", changed_at=now_ms())
    now = now_ms()
    asked = {row.prefix: traffic.judge(f"+{row.prefix}12345678", now).state for row in overview.rows(now)}
    shown = {row.prefix: row.state for row in overview.rows(now)}
    assert shown == asked
    assert shown == {
        "49151": State.BLOCKED, "49152": State.CHALLENGED, "49160": State.NORMAL, "49170": State.OFF, "49171": State.OFF,
        "49173": State.OFF,
    }  # fmt: skip
    monkeypatch.setattr(LIMITS, "sms_units_per_prefix_day", 5_000)
    assert {row.prefix: row.state for row in overview.rows(now)}["49160"] is State.SPENT


@pytest.mark.parametrize("prefix", ["", "+49151"])
def test_the_switch_stops_codes_with_a_reason_in_the_audit_log(superuser: Staff, prefix: str) -> None:
    fields = {"prefix": prefix, "mode": "off", "reason": "Somebody earns by these"}
    answer = superuser.client.post(SWITCH, fields, follow=True).content.decode()
    assert "Set for" in answer
    assert "Somebody earns by these" in answer
    assert ("No codes are sent to anybody" in answer) == (prefix == "")
    assert ask() == 503
    record = AuditRecord.objects.latest("pk")
    assert (record.action, record.by) == ("sms.switch", superuser.user.username)
    assert record.message.endswith("No messages: Somebody earns by these")
    superuser.client.post(SWITCH, {**fields, "mode": "auto"})
    assert ask() == 202


@pytest.mark.parametrize(
    "fields",
    [
        {"prefix": "49 151"},
        {"prefix": "4" * 17},
        {"prefix": "٤٩"},
        {"mode": "perhaps"},
        {"reason": ""},
    ],
    ids=["space", "long", "other digits", "mode", "no reason"],
)
def test_what_makes_no_sense_changes_nothing(superuser: Staff, fields: dict[str, str]) -> None:
    sent = {"prefix": "49151", "mode": "off", "reason": "Somebody earns by these", **fields}
    assert superuser.client.post(SWITCH, sent).status_code == 200
    assert not SmsPrefix.objects.exists()


def test_looking_is_not_switching(make_staff: Callable[..., Staff]) -> None:
    history("49151", sent=1, back=0)
    staff = make_staff(VIEW)
    assert "Switch" not in text_of(staff.page(PAGE))
    fields = {"prefix": "", "mode": "off", "reason": "I would like to"}
    assert staff.client.post(SWITCH, fields).status_code == 403
    assert not SmsPrefix.objects.exists()
    assert "Switch…" in make_staff(VIEW, CHANGE).page(PAGE)
