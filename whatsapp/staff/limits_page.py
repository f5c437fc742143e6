"""The table of limits as this process has it, with the comments of ``whatsapp/infra/limits.py``. Read-only: limits are set by
``WHATSAPP_LIMITS`` when a process starts."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import fields
from typing import Any, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from whatsapp.infra.limits import LIMITS, Limits

_FIELD = re.compile(r"    (\w+): int = [^#]*(?:# (.*))?$")
_GROUP = re.compile(r"    # (.*)$")


class Described(NamedTuple):
    group: str
    text: str


@functools.cache
def descriptions() -> dict[str, Described]:
    """Group and comment of each limit, as its source has them."""
    found: dict[str, Described] = {}
    group = ""
    for line in inspect.getsource(Limits).splitlines():
        if match := _GROUP.match(line):
            group = match[1]
        elif match := _FIELD.match(line):
            found[match[1]] = Described(group, (match[2] or "").replace("``", ""))
    return found


def limits(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("staff.view_limits"):
        raise PermissionDenied
    known = descriptions()
    groups: dict[str, list[dict[str, Any]]] = {}
    for field in fields(Limits):
        described = known.get(field.name, Described("other", ""))
        value = getattr(LIMITS, field.name)
        groups.setdefault(described.group, []).append(
            {"name": field.name, "value": value, "default": field.default, "text": described.text}
        )
    context = {**admin.site.each_context(request), "title": "Limits", "groups": groups}
    return TemplateResponse(request, "staff/limits.html", context)
