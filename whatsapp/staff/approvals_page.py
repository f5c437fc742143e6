"""Pages of what waits for a second person: the list, and one with its details and the decision."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse

from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.models import Approval

VIEW: Final = "staff.view_approval"
#: Shown of what waits, and of what was decided.
SHOWN: Final = 100
_MOST: Final = 99


def _for(user: Any) -> QuerySet[Approval]:
    """What this member of staff may see: all with the permission to look, else the own and what one could decide."""
    found = Approval.objects.all()
    if user.has_perm(VIEW):
        return found
    return found.filter(Q(asked_by=user) | Q(kind__in=approvals.kinds_for(user)))


def _waiting(user: Any) -> QuerySet[Approval]:
    return _for(user).filter(state=Approval.State.WAITING, expires_at__gt=now_ms())


def enter(user: Any) -> bool:
    """Whether the pages are for this member of staff at all: who asks for something sees there what became of it."""
    return bool(user.has_perm(VIEW) or approvals.kinds_for(user) or approvals.may_ask(user))


def may_open(user: Any, pk: Any) -> bool:
    """Whether the page of this approval is for this member of staff."""
    return enter(user) and _for(user).filter(pk=pk).exists()


def to_decide(request: HttpRequest) -> int:
    """The number in the navigation: what waits for exactly this person."""
    user: Any = request.user
    mine = _waiting(user).filter(kind__in=approvals.kinds_for(user))
    return len(mine.exclude(asked_by=user).values_list("pk")[: _MOST + 1])


def listing(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not enter(user):
        raise PermissionDenied
    waiting = _waiting(user).order_by("expires_at")[:SHOWN]
    late = Q(state=Approval.State.WAITING, expires_at__lte=now_ms())
    ended = _for(user).filter(~Q(state=Approval.State.WAITING) | late).order_by("-asked_at")[:SHOWN]
    context = {
        **admin.site.each_context(request),
        "title": "Second person",
        "waiting": _rows(waiting, user),
        "ended": _rows(ended, user),
    }
    return TemplateResponse(request, "staff/approvals.html", context)


def one(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Details, and the decision: ``approve``, ``reject`` or ``withdraw``, with a reason."""
    user: Any = request.user
    if not enter(user):
        raise PermissionDenied
    approval = get_object_or_404(_for(user), pk=pk)
    (row,) = _rows([approval], user)
    if request.method == "POST" and row["open"] and not (row["may_decide"] or row["own"]):
        raise PermissionDenied
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        try:
            if "withdraw" in request.POST:
                done = approvals.withdraw(approval, user, reason)
            else:
                done = approvals.decide(approval, user, "approve" in request.POST, reason)
        except approvals.Refusal as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, f"It is {done.state}.")
        return redirect("admin:approvals")
    kind = approvals.kind_of(approval)
    context = {
        "unseen": kind.unseen(approval, user) if kind and row["may_decide"] else "",
        **admin.site.each_context(request),
        "title": kind.title if kind else approval.kind,
        "row": row,
        "details": kind.details(approval) if kind and approval.subject else [],  # none: about who is erased
        "form": form,
    }
    return TemplateResponse(request, "staff/approval.html", context)


def _rows(found: Iterable[Approval], user: Any) -> list[dict[str, Any]]:
    rows = list(found)
    about = approvals.about(rows)
    return [_row(each, about.get(each.pk, []), user) for each in rows]


def _row(approval: Approval, about: list[approvals.Named], user: Any) -> dict[str, Any]:
    kind = approvals.kind_of(approval)
    late = approval.state == Approval.State.WAITING and approval.expires_at <= now_ms()
    open_ = approval.state == Approval.State.WAITING and not late
    own = approval.asked_by_id == user.pk
    return {
        "approval": approval,
        "about": about,
        "title": kind.title if kind else approval.kind,
        "state": "expired" if late else "waits" if open_ else approval.state,
        "own": own,
        "open": open_,
        "may_decide": open_ and not own and kind is not None and user.has_perm(kind.permission),
        "may_withdraw": open_ and own,
    }
