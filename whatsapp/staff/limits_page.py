"""The table of limits as this process has it, with the comments of ``whatsapp/infra/limits.py`` and what ``limit_table.py`` says
of each, and the classes of accounts. Everybody's are set by ``WHATSAPP_LIMITS`` when a process starts."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import fields
from typing import Any, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts.models import LimitOverride
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limit_classes import CLASSES
from whatsapp.infra.limit_table import TABLE
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
    """``q``: words that the name, the comment or what the table says must hold; ``group``: one group; ``own``: what an account
    may have another value of."""
    user: Any = request.user
    if not user.has_perm("staff.view_limits"):
        raise PermissionDenied
    words = request.GET.get("q", "").strip().lower()[:100]
    chosen, own = request.GET.get("group", ""), bool(request.GET.get("own"))
    others = bool(user.has_perm("accounts.view_limitoverride"))
    counted = _counted() if others else {}
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in _rows():
        if chosen not in ("", row["group"]) or (own and not row["about"].overridable):
            continue
        if all(word in row["words"] for word in words.split()):
            groups.setdefault(row["group"], []).append({**row, "others": counted.get(row["name"], 0)})
    context = {
        **admin.site.each_context(request),
        "title": "Limits",
        "groups": groups,
        "names": list(dict.fromkeys(described.group for described in descriptions().values())),
        "query": request.GET.get("q", ""),
        "chosen": chosen,
        "own": own,
        "filtered": bool(words or chosen or own),
        "classes": _classes() if others else [],
    }
    return TemplateResponse(request, "staff/limits.html", context)


def _rows() -> list[dict[str, Any]]:
    known = descriptions()
    rows = []
    for field in fields(Limits):
        described = known.get(field.name, Described("other", ""))
        about = TABLE[field.name]
        said = (field.name, described.text, about.how, about.scope, about.guard.fails, about.guard.why)
        rows.append(
            {
                "name": field.name,
                "group": described.group,
                "text": described.text,
                "value": getattr(LIMITS, field.name),
                "default": field.default,
                "about": about,
                "words": " ".join(said).lower(),
            }
        )
    return rows


def _in_force() -> QuerySet[LimitOverride]:
    return LimitOverride.objects.filter(Q(until=None) | Q(until__gt=now_ms()))


def _counted() -> dict[str, int]:
    """How many accounts and classes have another value, by limit."""
    found = _in_force().values("name").annotate(number=Count("pk"))
    return {row["name"]: row["number"] for row in found.values("name", "number")}


def _classes() -> list[dict[str, Any]]:
    """Each with its values: built in, and those that rows give or change."""
    given: dict[str, dict[str, int]] = {}
    for subject, name, value in (
        _in_force().filter(scope=LimitOverride.Scope.CLASS).values_list("subject", "name", "value")
    ):
        given.setdefault(subject, {})[name] = value
    shown = []
    for name in sorted({*CLASSES, *given}):
        built_in = CLASSES.get(name)
        rows = given.get(name, {})
        values = {**(built_in.values if built_in else {}), **rows}
        shown.append(
            {
                "name": name,
                "text": built_in.text if built_in else "Made by staff.",
                "values": [
                    {
                        "name": limit,
                        "value": value,
                        "everybodys": getattr(LIMITS, limit),
                        "set": limit in rows,
                    }
                    for limit, value in sorted(values.items())
                    if limit in TABLE
                ],
            }
        )
    return shown
