"""What moderators do on their pages, for tests of these pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin.models import LogEntry

from accounts.models import Case
from tests.staff.conftest import Staff

Make = Callable[..., Staff]
MODERATE, APPROVE, VIEW = "staff.moderate", "staff.approve_ban", "staff.view_moderation"
DAY = 86_400_000


def address(case: Case, act: str = "") -> str:
    return f"/admin/moderation/cases/{case.pk}/{act + '/' if act else ''}"


def press(staff: Staff, case: Case, act: str, **fields: str) -> Any:
    """The answer to this button of the case's page; ``case`` is read anew."""
    answer = staff.client.post(address(case, act), fields)
    case.refresh_from_db()
    return answer


def decide(staff: Staff, case: Case, action: str, reason: str = "spam", note: str = "") -> Case:
    press(staff, case, "claim")
    press(staff, case, "decide", action=action, reason=reason, note=note)
    return case


def messages_of(staff: Staff) -> list[str]:
    """What the audit log says that they did, the oldest first."""
    return [entry.get_change_message() for entry in LogEntry.objects.filter(user=staff.user).order_by("pk")]
