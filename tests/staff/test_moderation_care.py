"""Care for those who look at what was reported: breaks, blurred evidence; and the figures of the queue."""

from __future__ import annotations

import uuid

import pytest

from accounts.models import Case, Sanction
from accounts.services import sanctions
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.moderating import APPROVE, MODERATE, VIEW, Make, address, decide, press
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import ReviewerDay
from whatsapp.staff.moderation import figures, wellbeing

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")


def test_a_break_is_due_after_some_grave_cases_in_a_row(make_staff: Make) -> None:
    staff = make_staff(MODERATE)
    staff.client.post("/admin/moderation/settings/", {"break_after": "2"})
    for number in range(2):
        assert "I had a break" not in staff.page("/admin/moderation/"), number
        case = report(sign_in(), "violence")
        press(staff, case, "claim")
        staff.page(address(case) + "?show=1")
        staff.page(address(case) + "?show=1")  # the same again counts once
    assert "I had a break" in staff.page("/admin/moderation/")
    day = ReviewerDay.objects.get(user=staff.user)
    assert (day.seen, day.grave) == (2, 2)
    staff.client.post("/admin/moderation/rested/")
    assert "I had a break" not in staff.page("/admin/moderation/")


def test_time_without_looking_is_a_break_and_a_lighter_case_too(make_staff: Make) -> None:
    user, now = make_staff(MODERATE, signed_in=False).user, now_ms()
    for offset in range(3):
        row = wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + offset)
    assert row.in_a_row == 3
    assert wellbeing.saw(user, uuid.uuid4(), grave=False, now=now + 4).in_a_row == 0
    wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + 5)
    row = wellbeing.saw(user, uuid.uuid4(), grave=True, now=now + 5 + wellbeing.PAUSE_MS)
    assert row.in_a_row == 1


def test_evidence_is_blurred_and_grey_unless_somebody_wants_it_otherwise(make_staff: Make) -> None:
    case = report(sign_in())
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert "data-blur" in page
    assert "data-gray" in page
    staff.client.post("/admin/moderation/settings/", {"blur": "on", "break_after": "5"})
    page = staff.page(address(case))
    assert "data-blur" in page
    assert " data-gray" not in page
    assert (
        staff.client.post("/admin/moderation/settings/", {"break_after": "51"}).status_code == 200
    )  # refused


def test_figures_for_who_leads(make_staff: Make) -> None:
    staff, second = make_staff(MODERATE), make_staff(APPROVE)
    for number, (action, reason) in enumerate((("dismiss", "joke"), ("day", "spam"), ("day", "spam"))):
        case = decide(staff, report(sign_in()), action, reason)
        Case.objects.filter(pk=case.pk).update(
            opened_at=case.closed_at - (number + 1) * 60_000, due_at=case.closed_at + (1 if number else -1)
        )
    case = decide(staff, report(sign_in(), "fraud"), "permanent", "fraud", "the third account")
    press(second, case, "second", verdict="reject", note="not enough")
    sanction = Sanction.objects.filter(kind="suspension").first()
    assert sanction is not None
    sanctions.ask_appeal(sanction_id=sanction.pk, text="It was not me")
    sanctions.decide_appeal(sanction=sanction, by="ann", grant=True, reason="right")
    found = figures.of()
    (row,) = found.rows
    assert (row.category, row.decided, row.late, row.upheld, row.median) == ("spam", 3, 1, 2, 120_000)
    assert (found.in_time.part, found.in_time.whole) == (2, 3)
    assert (found.agreed.part, found.agreed.whole) == (0, 1)
    assert (found.overturned.part, found.overturned.whole) == (1, 1)
    page = make_staff(VIEW).page("/admin/moderation/figures/")
    assert "67 %" in page
    assert staff.user.username not in page
