"""Figures of moderation for who leads it: of the newest cases that were decided within thirty days. Nobody's name is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

from accounts.models import CATEGORIES, NOTHING_FOUND, Case, Sanction
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Approval
from whatsapp.staff.moderation.decisions import BAN, TITLES

DAYS: Final = 30
#: Cases that are looked at, the newest first: a few ms.
MOST: Final = 5_000


@dataclass
class Row:
    """Of one category. Times in ms."""

    category: str
    decided: int = 0
    late: int = 0
    upheld: int = 0
    took: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        return TITLES[self.category]

    @property
    def median(self) -> int:
        return int(median(self.took)) if self.took else 0

    @property
    def slowest(self) -> int:
        """Nine of ten were faster."""
        return int(quantiles(self.took, n=10)[-1]) if len(self.took) > 1 else self.median


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    whole: int

    @property
    def percent(self) -> str:
        return f"{100 * self.part / self.whole:.0f} %" if self.whole else "—"


@dataclass(frozen=True)
class Figures:
    rows: list[Row]
    outcomes: list[tuple[str, Share]]
    decided: int
    cut: bool
    in_time: Share
    #: Bans for good to which the second person agreed.
    agreed: Share
    #: Sanctions that were taken back on an appeal.
    overturned: Share


def of(now: int | None = None) -> Figures:
    moment = now_ms() if now is None else now
    since = moment - DAYS * 86_400_000
    found = list(
        Case.objects.filter(state=Case.State.CLOSED, closed_at__gte=since)
        .order_by("-closed_at")
        .values_list("category", "outcome", "opened_at", "due_at", "closed_at")[: MOST + 1]
    )
    cut, found = len(found) > MOST, found[:MOST]
    rows = {name: Row(name) for name in reversed(CATEGORIES)}
    outcomes: Counter[str] = Counter()
    for category, outcome, opened_at, due_at, closed_at in found:
        row = rows.setdefault(category, Row(category))
        row.decided += 1
        row.late += closed_at > due_at
        row.upheld += outcome not in NOTHING_FOUND
        row.took.append(closed_at - opened_at)
        outcomes[outcome] += 1
    asked = Approval.objects.filter(kind=BAN, asked_at__gte=since).exclude(state=Approval.State.WAITING)
    appeals = Sanction.objects.filter(appeal_at__gte=since).exclude(
        appeal__in=(Sanction.Appeal.NONE, Sanction.Appeal.ASKED)
    )
    late = sum(row.late for row in rows.values())
    return Figures(
        rows=[row for row in rows.values() if row.decided],
        outcomes=[
            (name.replace("_", " ").capitalize(), Share(number, len(found)))
            for name, number in outcomes.most_common()
        ],
        decided=len(found),
        cut=cut,
        in_time=Share(len(found) - late, len(found)),
        agreed=_share(asked.order_by("-asked_at").values_list("state", flat=True)[:MOST], Approval.State.APPROVED),
        overturned=_share(
            appeals.order_by("-appeal_at").values_list("appeal", flat=True)[:MOST], Sanction.Appeal.GRANTED
        ),
    )  # fmt: skip


def _share(found: Iterable[str], wanted: str) -> Share:
    values = list(found)
    return Share(sum(value == wanted for value in values), len(values))
