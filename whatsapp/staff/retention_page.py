"""How long everything is kept, what was deleted because its time was over, and what should be gone and is not."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts.services import retention as record
from whatsapp.infra import retention as table
from whatsapp.infra.clock import now_ms

DAYS: Final = 30
#: A check comes every hour: who was left out three times is not looked at.
_STALE_MS: Final = 3 * table.HOUR_MS
_NEVER: Final = record.Told(0, None, None, None, None)


def retention(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("accounts.view_retentionday"):
        raise PermissionDenied
    now = now_ms()
    told = record.told(now, DAYS)
    rows = [_row(policy, told.get(policy.name, _NEVER), now) for policy in table.policies()]
    # What somebody has to look at comes first.
    rows.sort(key=lambda row: (_ORDER[row["state"]], row["policy"].name))
    context = {
        **admin.site.each_context(request),
        "title": "Retention",
        "rows": rows,
        "days": DAYS,
        "overdue": sum(row["state"] == "overdue" for row in rows),
        "unchecked": sum(row["state"] == "unknown" for row in rows),
        "impersonal": sorted(table.without_a_person().items()),
        "most": table.MOST,
    }
    return TemplateResponse(request, "staff/retention.html", context)


_ORDER: Final = {"overdue": 0, "unknown": 1, "ok": 2, "": 3}


def _row(policy: table.Policy, told: record.Told, now: int) -> dict[str, Any]:
    return {"policy": policy, "told": told, "state": _state(policy, told, now)}


def _state(policy: table.Policy, told: record.Told, now: int) -> str:
    """``overdue``; ``unknown``: it was not looked at for long; ``ok``; "": nothing can be counted."""
    if policy.overdue is None and policy.due is None:
        return ""
    if told.checked_at is None or told.checked_at < now - _STALE_MS:
        return "unknown"
    return "overdue" if told.overdue else "ok"
