"""Is the audit log whole: what the checks of its chain found, and its anchors."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from whatsapp.staff.models import AuditAnchor, AuditCheck, AuditRecord

VIEW: Final = "staff.view_auditcheck"
_SHOWN: Final = 20


def checks(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm(VIEW):
        raise PermissionDenied
    newest = list(AuditCheck.objects.order_by("-pk")[:_SHOWN])
    context = {
        **admin.site.each_context(request),
        "title": "Checks of the audit log",
        "newest": newest[0] if newest else None,
        "checks": newest,
        "all": AuditCheck.objects.filter(whole=True).order_by("-pk").first(),
        "broken": AuditCheck.objects.exclude(finding="").order_by("-pk").first(),
        "head": AuditRecord.objects.filter(seq__isnull=False).order_by("-seq").first(),
        "anchors": [
            {"row": row, "hash": bytes(row.hash).hex()}
            for row in AuditAnchor.objects.order_by("-seq")[:_SHOWN]
        ],
    }
    return TemplateResponse(request, "staff/audit_checks.html", context)
