"""Who may decide an appeal: somebody who did not decide what it is against, wherever there is such a one. Where only
those moderate who decided it, they decide the appeal, too: one that nobody may answer would help nobody."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User

from accounts.models import Case, Sanction
from whatsapp.staff.models import Approval

#: Decide an appeal.
DECIDE: Final = "accounts.change_sanction"
#: Said to who may not.
OWN: Final = "You have decided what this appeal is against: somebody else looks at it."


def needed(sanction: Sanction, by: User) -> bool:
    """Whether ``by`` has decided it, alone or as one of two, and somebody of the staff who has not could look at it."""
    names = _deciders(sanction)
    return by.get_username() in names and _others(names)


def _deciders(sanction: Sanction) -> set[str]:
    names = {sanction.imposed_by}
    case = Case.objects.filter(pk=sanction.evidence.get("case")).first()
    if case is not None:
        names |= {case.claimed_by, case.closed_by}
    approval = Approval.objects.filter(pk=_approval(sanction)).first()
    if approval is not None:
        names |= {approval.asked_name, approval.decided_name}
    return names


def _approval(sanction: Sanction) -> str | None:
    """Of a sanction that came with a number it is only known that there was one."""
    found = sanction.evidence.get("approval")
    return found if isinstance(found, str) else None


def _others(names: set[str]) -> bool:
    able = User.objects.with_perm(
        DECIDE, is_active=True, include_superusers=True, backend="django.contrib.auth.backends.ModelBackend"
    )
    return bool(able.filter(is_staff=True).exclude(username__in=names).exists())
