"""A message that was reported in several forms: the moderator sees which one was edited later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import ReportedMessage
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff

pytestmark = pytest.mark.usefixtures("db", "valkey_server")


def test_what_it_said_before_an_edit_is_named_so(make_staff: Callable[..., Staff]) -> None:
    said = [
        ("a threat", "verified"),
        ("good morning", "verified"),
        ("made up", "forged"),
        ("something else", "verified"),
    ]
    case = report(sign_in(), said=said)
    first, second, forged, _ = ReportedMessage.objects.filter(report__case=case).order_by("position")
    ReportedMessage.objects.filter(pk__in=[second.pk, forged.pk]).update(message_id=first.message_id)
    staff = make_staff("staff.moderate")
    address = f"/admin/moderation/cases/{case.pk}/"
    staff.client.post(address + "claim/")
    page = staff.page(address)
    for words, edited in (
        ("a threat", True), ("good morning", False), ("made up", False), ("something else", False)
    ):  # fmt: skip
        before = page[: page.index(words)]
        head = before[before.rindex("mod-message-head") :]
        assert ("edited later" in head) is edited, words
