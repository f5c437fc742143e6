"""The first page says what waits for who reads it: cases, those that are late, appeals."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from accounts.models import Sanction
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.moderating import DAY, address, press
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
TITLES = {"Open cases", "Overdue cases", "Cases of mine", "Open appeals"}


def cards(staff: Staff) -> dict[str, str]:
    found = re.findall(r'data-card="([^"]+)">([^<]+)<', staff.page("/admin/"))
    return {title: value for title, value in found if title in TITLES}


def test_a_moderator_sees_how_much_there_is(make_staff: Make) -> None:
    staff = make_staff(role="moderator")
    assert cards(staff) == dict.fromkeys(TITLES, "0")
    first, late = report(sign_in()), report(sign_in(), at=now_ms() - 30 * DAY)
    Sanction.objects.create(
        account_id=sign_in().user_id, kind="limit", reason="spam", imposed_by="automatic", imposed_at=now_ms(),
        until=now_ms() + DAY, appeal=Sanction.Appeal.ASKED, appeal_at=now_ms(), appeal_text="no",
    )  # fmt: skip
    press(staff, first, "claim")
    assert cards(staff) == {
        "Open cases": "2", "Overdue cases": "1", "Cases of mine": "1", "Open appeals": "1",
    }  # fmt: skip
    page = staff.page("/admin/")
    for wanted, there in (
        ("/admin/moderation/?list=overdue", address(late)),
        ("/admin/moderation/?list=mine", address(first)),
        ("/admin/accounts/sanction/?appeal__exact=asked", str(Sanction.objects.get().account_id)),
    ):
        assert f'href="{wanted}"' in page.replace("&amp;", "&")
        assert there in staff.page(wanted), wanted


@pytest.mark.parametrize(
    ("role", "seen"),
    [("operator", set()), ("auditor", {"Open cases", "Overdue cases"}), ("staff", set())],
)
def test_whoever_has_nothing_to_do_with_it_sees_none(make_staff: Make, role: str, seen: set[str]) -> None:
    report(sign_in())
    staff = make_staff(role=role)
    assert set(cards(staff)) == seen
    page = staff.page("/admin/")
    for address_ in re.findall(r'href="(/admin/moderation/[^"]*|/admin/accounts/sanction/\?[^"]*)"', page):
        staff.page(address_)
