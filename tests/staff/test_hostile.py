"""What no browser sends: pages and deeds of the staff answer it with a page, and nothing fails."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any
from urllib.parse import urlencode

import pytest

from accounts.models import Case
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.world import make_world
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
    press(other, case, "second", verdict="approve", note=f"three times {bad}")
    assert Case.objects.get(pk=case.pk).outcome == Case.Outcome.PERMANENT
    press(one, case, "undo", note=f"three times {bad}")
    assert AuditRecord.objects.filter(object_id=str(case.pk), action="case.decided").count() == 1
