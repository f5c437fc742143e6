"""What no browser sends: pages and deeds of the staff answer it with a page, and nothing fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Case
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.test_roles import addresses
from tests.staff.world import make_world
from whatsapp.staff import second_factor
from whatsapp.staff.models import AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

BAD = ("a\0b", "9" * 30)
#: Names of parameters that pages of ours and of Django's read.
PARAMETERS = (
    "q", "p", "page", "o", "e", "t", "before", "after", "show", "state", "category", "kind", "subject_kind", "list", "days",
    "who", "prefix", "begin", "begins", "table", "region", "id__exact", "state__exact", "user__id__exact", "_facets", "all",
)  # fmt: skip


def _is_ours(path: str) -> bool:
    """A page that reads its address itself; lists are Django's."""
    return (
        path.startswith("/admin/")
        and path.count("/") <= 4
        and not path.startswith("/admin/django_celery_beat")
    )


def test_no_page_fails_for_what_its_address_says(superuser: Staff) -> None:
    world = make_world()
    asked = urlencode(dict(zip(PARAMETERS, cycle(BAD), strict=False)))
    for path in filter(_is_ours, world.pages(superuser.user.pk)):
        answer = superuser.client.get(f"{path}{'&' if '?' in path else '?'}{asked}")
        assert answer.status_code in (200, 302, 400, 403, 404), (path, answer.status_code)


@pytest.mark.parametrize("bad", ["seen\0seen", "x" * 70_000], ids=["nul", "long"])
def test_no_deed_fails_for_what_is_in_its_form(make_staff: Callable[..., Staff], bad: str) -> None:
    one, other = make_staff(role="moderator"), make_staff(role="moderator")

    def press(staff: Staff, case: Case, deed: str, **fields: Any) -> None:
        answer = staff.client.post(f"/admin/moderation/cases/{case.pk}/{deed}/", fields)
        assert answer.status_code == 302, (deed, answer.status_code)

    case = report(sign_in(), "fraud")
    press(one, case, "claim")
    press(one, case, "decide", action=bad, reason="fraud", note=bad)
    press(one, case, "decide", action="permanent", reason=bad, note=bad)
    press(one, case, "decide", **{"action": "permanent", "reason:permanent": bad})
    press(one, case, "decide", action="permanent", reason="fraud", note=f"three times {bad}")
    assert Case.objects.get(pk=case.pk).state == Case.State.WAITING
    press(other, case, "second", verdict=bad, note=f"three times {bad}")
    other.page(f"/admin/moderation/cases/{case.pk}/")
    press(other, case, "second", verdict="approve", note=f"three times {bad}")
    assert Case.objects.get(pk=case.pk).outcome == Case.Outcome.PERMANENT
    press(one, case, "undo", note=f"three times {bad}")
    assert AuditRecord.objects.filter(object_id=str(case.pk), action="case.decided").count() == 1


@pytest.mark.parametrize("change", ["active", "staff", "second factor", "password", "other site"])
def test_what_is_pressed_behind_a_change_of_who_presses_does_nothing(superuser: Staff, change: str) -> None:
    """A form was shown; when it comes back its sender is no staff any more, or it comes from the page of somebody else."""
    world, user, client = make_world(), superuser.user, superuser.client
    if change == "other site":
        client = Client(enforce_csrf_checks=True)
        client.cookies = superuser.client.cookies
    elif change == "second factor":
        assert second_factor.reset(user=user)
    elif change == "password":
        user.set_password("another long password")
        user.save()
    else:
        User.objects.filter(pk=user.pk).update(**{f"is_{change}": False})
    fields: dict[str, Any] = {
        "reason": "I would like to", "days": 3, "note": "I would like to", "approve": "1", "verdict": "approve",
        "action": "ban_chosen", "_selected_action": [world.ann.user_id], "confirmed": "1", "name": "changed", "enabled": "on",
    }  # fmt: skip
    for path, _, _ in addresses(world, superuser):
        with CaptureQueriesContext(connection) as asked:
            answer = client.post(path, fields)
        if change == "other site":
            assert answer.status_code == 403, path
        else:
            assert answer["Location"].startswith("/admin/login/"), path
        written = [query["sql"] for query in asked if re.match(r"(INSERT|UPDATE|DELETE)", query["sql"])]
        assert [sql for sql in written if "session" not in sql] == [], path
