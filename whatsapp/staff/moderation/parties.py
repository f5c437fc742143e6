"""Both sides of a case: what is known of the one who was reported, and how far those who report can be trusted. Never more than
a decision needs: no number, no name, and of reporters no id."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q

from accounts.models import NOTHING_FOUND, Account, Case, CaseTrigger, Report, ReportedMessage, Sanction
from accounts.services import late, standing
from groups.models import Group, Membership, Role
from whatsapp.infra.clock import now_ms

#: Rows shown of each list.
SHOWN: Final = 10
#: Numbers are exact up to here.
COUNTED: Final = 999
#: Reporters whose earlier reports are looked at.
REPORTERS: Final = 8
MONTH_MS: Final = 30 * 86_400_000


@dataclass(frozen=True)
class Accused:
    """``reports``, ``reports_month``, ``upheld``: numbers up to :data:`COUNTED`. ``conversation_partners`` and the like are in
    ``figures`` when a trigger has counted them."""

    account: Account
    now: int
    sanctions: list[Sanction]
    cases: list[Case]
    reports: int
    reports_month: int
    upheld: int
    #: Of one that has ended: until when a sanction holds for who has its number; None: for nobody.
    holds_until: int | None = None
    #: Until when it holds for who has a number that the account has left; None: it has left none lately.
    left_until: int | None = None

    @property
    def banned(self) -> bool:
        return self.account.is_banned(self.now)


@dataclass(frozen=True)
class Reporter:
    """``share``: what their word counts, in hundredths of that of somebody new."""

    name: str
    reports: int
    share: int

    @property
    def standing(self) -> str:
        return "reliable" if self.share > 120 else "often wrong" if self.share < 80 else "unknown"


@dataclass(frozen=True)
class Reporters:
    number: int
    forged: int
    some: list[Reporter]
    new: int
    reliable: int
    doubtful: int


@dataclass(frozen=True)
class TheGroup:
    group: Group
    admins: int


def accused_of(case: Case) -> Account | None:
    """Whose doing it is: the account that was reported; of a file whoever was reported for sending it, who need not have
    uploaded it, and nobody when that were several. Nobody for a group."""
    if case.subject_kind == Case.Subject.USER:
        found: Account | None = Account.objects.filter(pk=case.subject).first()
        return found
    if case.subject_kind == Case.Subject.MEDIA:
        senders = Report.objects.filter(case=case, reported__isnull=False)
        several = list(senders.values_list("reported", flat=True).distinct()[:2])
        return Account.objects.filter(pk=several[0]).first() if len(several) == 1 else None
    return None


def history(account: Account, case: Case) -> Accused:
    """Each list and number reads a bounded range of an index."""
    now = now_ms()
    earlier = Case.objects.filter(subject=account.pk).exclude(pk=case.pk).order_by("-opened_at")
    received = Report.objects.filter(reported=account.pk).order_by("-created_at")
    upheld = (
        Q(state=Case.State.CLOSED) & ~Q(outcome__in=NOTHING_FOUND) & ~Q(outcome="")
    )  # of those that were looked at
    return Accused(
        account=account,
        now=now,
        sanctions=list(account.sanctions.order_by("-imposed_at")[:SHOWN]),
        cases=list(earlier[:SHOWN]),
        reports=_number(received),
        reports_month=_number(received.filter(created_at__gt=now - MONTH_MS)),
        upheld=_number(earlier.filter(upheld)),
        holds_until=late.holds_until(account, now=now),
        left_until=late.left_until(account, now=now),
    )


def group_of(case: Case) -> TheGroup | None:
    group = Group.objects.filter(pk=case.subject).first() if case.subject_kind == Case.Subject.GROUP else None
    if group is None:
        return None
    admins = Membership.objects.filter(group=group, left_at=None, role__in=(Role.CREATOR, Role.ADMIN))
    return TheGroup(group, _number(admins))


def reporters(case: Case) -> Reporters:
    """Who reported this, without names: how many, and how good their word is (of the newest :data:`REPORTERS`)."""
    now = now_ms()
    rows = list(
        Report.objects.filter(case=case)
        .order_by("-created_at")
        .values_list("reporter", "verdict", "weight")[: COUNTED + 1]
    )
    people: dict[uuid.UUID | None, int] = {}
    for who, _, _ in rows:
        people[who] = people.get(who, 0) + 1
    known = [who for who in people if who is not None][:REPORTERS]
    some = [
        Reporter(f"Reporter {number}", people[who], standing.weight_of(who, now=now))
        for number, who in enumerate(known, 1)
    ]
    return Reporters(
        number=len(people),
        forged=sum(verdict == ReportedMessage.Verdict.FORGED for _, verdict, _ in rows),
        some=some,
        new=sum(each.standing == "unknown" for each in some),
        reliable=sum(each.standing == "reliable" for each in some),
        doubtful=sum(each.standing == "often wrong" for each in some),
    )


def triggers(case: Case) -> list[CaseTrigger]:
    """What was seen automatically: numbers."""
    found: Any = CaseTrigger.objects.filter(case=case).order_by("-at")[:SHOWN]
    return list(found)


def _number(rows: Any) -> int:
    number: int = rows.values("pk")[: COUNTED + 1].count()
    return number
