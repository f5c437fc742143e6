"""A case whose accused has ended the account before somebody looked: the page says for whom a decision holds, and it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

from accounts.models import Account, Case, Sanction
from accounts.services import recycling
from accounts.services.sanctions import FOREVER
from tests.accounts.conftest import Person, assert_problem, sign_in, verify
from tests.accounts.test_recycling import silent
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.moderating import MODERATE, address, decide, press
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Approval

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
HOLDS = "A sanction holds for whoever has its number"


def reported(*, long_silent: bool = False) -> tuple[Person, Case]:
    """Somebody was reported, and has ended the account since."""
    ann = sign_in()
    case = report(ann)
    if long_silent:
        silent(ann)
    with transaction.atomic():
        recycling.retire(account=Account.objects.get(pk=ann.user_id), now=now_ms())
    return ann, case


@pytest.mark.parametrize(
    ("action", "class_"), [("slow_down", "slowed"), ("limit", "restricted"), ("day", None), ("week", None)]
)
def test_who_begins_anew_has_what_was_decided(make_staff: Make, action: str, class_: str | None) -> None:
    ann, case = reported()
    staff = make_staff(MODERATE)
    assert HOLDS in staff.page(address(case))
    decide(staff, case, action)
    assert case.state == "closed"
    if class_ is None:
        assert_problem(verify(ann.phone), "banned", 403)
    else:
        again = sign_in(ann.phone)
        assert Account.objects.get(pk=again.user_id).limit_class == class_


def test_a_ban_for_good_by_two_and_its_end(make_staff: Make) -> None:
    ann, case = reported()
    one, other = make_staff(role="moderator"), make_staff(role="moderator")
    again = sign_in(ann.phone)
    decide(one, case, "permanent", note="sells what is forbidden")
    assert again.api.get("/me").status_code == 200
    other.page(address(case))
    press(other, case, "second", verdict="approve", note="seen, too")
    assert Account.objects.get(pk=again.user_id).banned_until == FOREVER
    press(one, case, "undo", note="it was somebody else")
    approval = Approval.objects.get(state="waiting")
    other.client.post(f"/admin/approvals/{approval.pk}/", {"approve": "1", "reason": "true, it was"})
    assert not Sanction.objects.filter(lifted_at=None).exists(), "on both accounts"
    assert again.api.get("/me").status_code == 200


def test_who_got_the_number_from_the_carrier_has_nothing_of_it(make_staff: Make) -> None:
    ann, case = reported(long_silent=True)
    staff = make_staff(MODERATE)
    page = staff.page(address(case))
    assert "A sanction holds for nobody" in page
    assert HOLDS not in page
    decide(staff, case, "week")
    assert sign_in(ann.phone).api.get("/me").status_code == 200
