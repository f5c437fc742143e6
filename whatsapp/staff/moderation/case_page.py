"""One case: what was reported on the left, both parties on the right, what can be decided below."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from accounts.models import Case
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.moderation import access, decisions, evidence, parties, wellbeing
from whatsapp.staff.moderation.queue_page import row


@require_GET
def page(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    """``?show``: the evidence of a grave case, which is hidden without it. ``?before=``: reports that are older than one.

    Whenever evidence is shown, that is written into the audit log first, and counted for whoever looks. A page behind the oldest
    report shows none.
    """
    user = access.staff_of(request, *access.ANY)
    case = access.case_of(case_id)
    now = now_ms()
    me = user.get_username()
    accused = parties.accused_of(case)
    may_see = access.may_see_evidence(user, case)
    grave = case.category in wellbeing.GRAVE
    hidden = grave and "show" not in request.GET
    reviewer = wellbeing.settings_of(user)
    shown = None
    if may_see and not hidden:
        before = uuid_of(request.GET.get("before", "")[:40])
        shown = evidence.of(case, accused.pk if accused else None, before=before)
        if before is None or not shown.is_empty:
            audit.record(by=user, on=case, message="Looked at the evidence", action=access.LOOKED)
            reviewer = wellbeing.saw(user, case.pk, grave=grave, now=now)
    head = row(case, me, now)
    approval = decisions.approval_of(case) if case.state == Case.State.WAITING else None
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"{head['title']}: {head['kind'].lower()} {head['short']}",
        "now": now,
        "row": head,
        "case": case,
        "may_see": may_see,
        "hidden": hidden,
        "grave": grave,
        "evidence": shown,
        "older": "before" in request.GET,
        "reviewer": reviewer,
        "today": wellbeing.today(user, now),
        "break_is_due": wellbeing.break_is_due(reviewer, now),
        "accused": parties.history(accused, case) if accused else None,
        "group": parties.group_of(case),
        "reporters": parties.reporters(case),
        "triggers": parties.triggers(case),
        "approval": approval,
        "may_link": user.has_perm("accounts.view_account"),
        "may_moderate": user.has_perm(access.MODERATE),
        **_choices(user, case, head, accused, approval),
    }
    return TemplateResponse(request, "staff/moderation/case.html", context)


def _choices(user: User, case: Case, head: dict[str, Any], accused: Any, approval: Any) -> dict[str, Any]:
    """What this one may do now."""
    actions = decisions.possible(case, accused) if head["mine"] and user.has_perm(access.MODERATE) else []
    asked_by_me = approval is not None and approval.asked_by_id == user.pk
    return {
        "actions": [
            {
                "action": action,
                "reasons": list(action.reasons.items()),
                "chosen": case.category if case.category in action.reasons else next(iter(action.reasons)),
            }
            for action in actions
        ],
        "may_decide": approval is not None and not asked_by_me and user.has_perm(access.APPROVE),
        "unseen": decisions.unseen(approval, user) if approval is not None else "",
        "asked_by_me": asked_by_me,
        "may_undo": case.state == Case.State.CLOSED and user.has_perm(access.MODERATE),
        "undoing": decisions.undo_asked(case) if case.state == Case.State.CLOSED else None,
        "to_lift": decisions.imposed_by(case, accused) if case.state == Case.State.CLOSED else [],
    }
