"""Who may do what on the pages of moderation."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from accounts.models import Case
from accounts.services import cases
from whatsapp.infra.clock import now_ms

MODERATE: Final = "staff.moderate"
APPROVE: Final = "staff.approve_ban"
VIEW: Final = "staff.view_moderation"
#: Each of these opens the queue and the page of a case; its evidence is another matter (:func:`may_see_evidence`).
ANY: Final = (MODERATE, APPROVE, VIEW)
#: In the audit log, whenever evidence is shown.
LOOKED: Final = "case.looked"
#: Who may see evidence at all, and so has settings of how, and breaks. Who only looks at cases changes nothing here.
REVIEWERS: Final = (MODERATE, APPROVE)


def enter(user: Any) -> bool:
    """Whether the pages are for this member of staff at all."""
    return any(user.has_perm(name) for name in ANY)


def staff_of(request: HttpRequest, *permissions: str) -> User:
    """Who asks, if they have one of the permissions. Raises ``PermissionDenied``."""
    user: Any = request.user
    if not any(user.has_perm(name) for name in permissions):
        raise PermissionDenied
    found: User = user
    return found


def case_of(case_id: Any) -> Case:
    """Raises ``Http404``."""
    found: Case | None = Case.objects.filter(pk=case_id).first()
    if found is None:
        raise Http404
    return found


def holder(case: Case, now: int) -> str:
    """Who works on it; '' when nobody does, or when their time is over."""
    return str(case.claimed_by) if cases.is_claimed(case, now) else ""


def may_see_evidence(user: User, case: Case) -> bool:
    """What people wrote is for who works on the case now: the moderator who has claimed it; while it waits for a second person,
    who asked and who may decide; of a closed one, who may reopen it."""
    if case.state == Case.State.WAITING:
        return user.has_perm(APPROVE) or (user.has_perm(MODERATE) and case.claimed_by == user.get_username())
    if case.state == Case.State.CLOSED:
        return user.has_perm(MODERATE)
    return user.has_perm(MODERATE) and holder(case, now_ms()) == user.get_username()
