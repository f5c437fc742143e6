"""The queue: which cases wait, in which order, who has which."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import CATEGORIES, Case
from whatsapp.infra.clock import now_ms
from whatsapp.staff.moderation import access, queue, wellbeing
from whatsapp.staff.moderation.decisions import TITLES

#: Names of the lists, for people, in the order of their tabs.
TABS = {
    "open": "Open",
    "mine": "Mine",
    "overdue": "Overdue",
    "flagged": "Flagged",
    "waiting": "Second person",
    "closed": "Decided",
}
KINDS = {"user": "Person", "group": "Group", "media": "File"}


def listing(request: HttpRequest) -> HttpResponse:
    """``?list=``, ``category=``, ``kind=``, ``after=``; ``fragment``: the rows and numbers alone, for a page that is open."""
    user = access.staff_of(request, *access.ANY)
    asked = request.GET
    wanted = queue.Wanted.of(
        name=asked.get("list", ""),
        category=asked.get("category", ""),
        kind=asked.get("kind", ""),
        me=user.get_username(),
        behind=asked.get("after", ""),
    )
    now = now_ms()
    page = queue.page(wanted, now)
    filters = {"category": wanted.category, "kind": wanted.kind}
    filters = {name: value for name, value in filters.items() if value}
    here = {"list": wanted.name, **filters}
    counts = queue.counts(user.get_username(), now)
    context: dict[str, Any] = {
        "rows": [row(case, user.get_username(), now) for case in page.rows],
        "more": urlencode({**here, "after": page.more}) if page.more else "",
        "cut": page.cut,
        "window": queue.WINDOW,
        "wanted": wanted,
        "filtered": bool(filters),
        "first": wanted.behind is None,
        "now": now,
        "here": urlencode(here),
        "tabs": [
            {"name": name, "title": title, "count": counts.get(name, ""), "address": urlencode({"list": name, **filters})}
            for name, title in TABS.items()
            if name != "mine" or user.has_perm(access.MODERATE)
        ],
        "may_moderate": user.has_perm(access.MODERATE),
        "may_review": any(user.has_perm(name) for name in access.REVIEWERS),
    }  # fmt: skip
    if "fragment" in asked:
        return TemplateResponse(request, "staff/moderation/queue_rows.html", context)
    context |= {
        **admin.site.each_context(request),
        "title": "Moderation queue",
        "categories": [(name, TITLES[name]) for name in reversed(CATEGORIES)],
        "kinds": KINDS,
        "today": wellbeing.today(user, now),
        "break_is_due": wellbeing.break_is_due(wellbeing.settings_of(user), now),
        "refresh": f"{reverse('admin:moderation_queue')}?{request.GET.urlencode()}&fragment=1",
    }
    return TemplateResponse(request, "staff/moderation/queue.html", context)


def row(case: Case, me: str, now: int) -> dict[str, Any]:
    """A case as a line of the list, and as the head of its page."""
    holder = access.holder(case, now)
    return {
        "case": case,
        "title": TITLES.get(case.category, case.category),
        "grave": case.category in wellbeing.GRAVE,
        "kind": KINDS.get(case.subject_kind, case.subject_kind),
        "short": case.subject.hex[-8:],
        "holder": holder,
        "mine": bool(holder) and holder == me,
        "free": case.state in (Case.State.OPEN, Case.State.CLAIMED) and not holder,
        "claim_ends": (case.claimed_at or 0) + settings.CASE_CLAIM_MS if holder else 0,
        "state": state_of(case, holder),
    }


def state_of(case: Case, holder: str) -> str:
    if case.state == Case.State.CLAIMED and not holder:
        return "open"  # the time of whoever had it is over
    return "decided" if case.state == Case.State.CLOSED else str(case.state)
