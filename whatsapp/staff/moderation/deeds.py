"""What is pressed on the pages of moderation. Each takes a POST, does one thing, says what became of it
and goes back to a page."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from accounts.errors import Refused
from accounts.models import Case
from accounts.services import cases
from whatsapp.staff import approvals, audit, banning
from whatsapp.staff.moderation import access, decisions, wellbeing

#: Characters of what somebody adds to a reason.
MOST_WORDS: Final = 400
_Deed = Callable[[HttpRequest, uuid.UUID], HttpResponse]


def to_case(case_id: uuid.UUID) -> HttpResponse:
    return redirect("admin:moderation_case", case_id)


def _said(request: HttpRequest, name: str) -> str:
    """No text of PostgreSQL's holds a NUL."""
    return " ".join(request.POST.get(name, "").replace("\0", " ").split())[:MOST_WORDS]


def _told(deed: _Deed) -> _Deed:
    """What is refused is said on the page of the case."""

    def done(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
        try:
            with transaction.atomic():  # what was done and what the log says of it are there together
                return deed(request, case_id)
        except (decisions.Impossible, approvals.Refusal, Refused) as refusal:
            messages.error(request, str(refusal))
            return to_case(case_id)

    return require_POST(done)


@require_POST
def take_next(request: HttpRequest) -> HttpResponse:
    """Claim the most urgent one and go there."""
    user = access.staff_of(request, access.MODERATE)
    spare = wellbeing.settings_of(user).spare
    with transaction.atomic():
        case = decisions.take_next(user, spare=spare)
        if case is not None:
            audit.record(by=user, on=case, message="Claimed as the next one", action="case.claimed")
    if case is None:
        left = ", but grave ones, which your settings leave out" if spare else ""
        messages.success(request, f"Nothing waits that nobody works on{left}. What is yours is under “Mine”.")
        return redirect("admin:moderation_queue")
    return to_case(case.pk)


@_told
def claim(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    """Again by the same person: another half hour."""
    user = access.staff_of(request, access.MODERATE)
    case = cases.claim(access.case_of(case_id), user.get_username())
    audit.record(by=user, on=case, message="Claimed", action="case.claimed")
    return to_case(case_id)


@_told
def release(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    user = access.staff_of(request, access.MODERATE)
    case = cases.release(access.case_of(case_id), user.get_username())
    audit.record(by=user, on=case, message="Released, undecided", action="case.released")
    messages.success(request, "The case is in the queue again.")
    return redirect("admin:moderation_queue")


@_told
def decide(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    """``action`` of ``decisions.ACTIONS``; ``reason:<action>`` or ``reason``: one of its reasons; ``note``."""
    user = access.staff_of(request, access.MODERATE)
    name = request.POST.get("action", "")
    reason = request.POST.get("reason") or request.POST.get(f"reason:{name}", "")
    case = decisions.decide(access.case_of(case_id), user, name, reason, _said(request, "note"))
    waits = case.state == Case.State.WAITING
    link = format_html(
        '<a class="staff-link" href="{}">{}</a>',
        reverse("admin:moderation_case", args=[case.pk]),
        "Look at it" if waits else "Look at it, or undo it",
    )
    said = "A second person has to agree now." if waits else f"Decided: {decisions.BY_NAME[name].title}."
    messages.success(request, format_html("{} {}", said, link))
    if not wellbeing.settings_of(user).go_on or wellbeing.break_is_due(wellbeing.settings_of(user)):
        return redirect("admin:moderation_queue")
    return take_next(request)


@_told
def second(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    """The second person: ``verdict`` approve or reject; or ``withdraw``, by who asked. With ``note``."""
    user = access.staff_of(request, access.APPROVE, access.MODERATE)
    approval = decisions.approval_of(access.case_of(case_id))
    verdict, note = request.POST.get("verdict", ""), _said(request, "note")
    if approval is None:
        raise decisions.Impossible("Nothing waits for a second person here.")
    if len(note) < decisions.MIN_WORDS:
        raise decisions.Impossible("Say why, in a few words.")
    if verdict == "withdraw":
        approvals.withdraw(approval, user, note)
        messages.success(request, "Withdrawn: the case is in the queue again.")
    elif verdict in ("approve", "reject"):
        approvals.decide(approval, user, verdict == "approve", note)
        messages.success(
            request,
            "The account is banned for good." if verdict == "approve" else "Rejected: the case is in the queue again.",
        )  # fmt: skip
    else:
        raise decisions.Impossible("Approve it or reject it.")
    return to_case(case_id)


@_told
def undo(request: HttpRequest, case_id: uuid.UUID) -> HttpResponse:
    """Open a decided case again and lift its sanctions; what two have decided waits for a second person."""
    user = access.staff_of(request, access.MODERATE)
    if decisions.undo(access.case_of(case_id), user, _said(request, "note")):
        messages.success(request, "Undone: the case is in the queue again.")
    else:
        messages.info(request, banning.ASKED)
    return to_case(case_id)
