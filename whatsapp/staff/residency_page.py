"""Which regions there are, which of them are here, and whether what is here belongs here."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from chats.services.residency import audit
from delivery.store.interface import Unavailable
from whatsapp.infra import residency as regions

#: Rows of each table that a page looks at; the job looks at more.
SAMPLE: Final = 200


def residency(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("accounts.view_retentionday"):
        raise PermissionDenied
    here = regions.current()
    try:
        found, away = audit(SAMPLE), False
    except Unavailable:
        found, away = None, True
    tables = (
        [
            {
                "name": name,
                "looked": looked,
                "found": found.found[name],
                "state": "broken" if found.found[name] else "ok",
            }
            for name, looked in sorted(found.looked.items())
        ]
        if found is not None
        else []
    )
    context = {
        **admin.site.each_context(request),
        "title": "Residency",
        "on": here.on,
        "away": away,
        "regions": [
            {"region": one, "here": here.has(one.number)}
            for one in sorted(here.regions.values(), key=lambda r: r.number)
        ],
        "tables": tables,
        "violations": found.violations if found is not None else [],
        "sample": SAMPLE,
    }
    return TemplateResponse(request, "staff/residency.html", context)
