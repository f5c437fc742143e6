"""Cases in the order in which they should be decided, a page at a time, whatever their number.

Every list begins in an index that has just its rows in its order, and goes on behind the last row that was seen: nothing is
counted to its end, nothing is skipped over. A second filter looks at :data:`WINDOW` rows of the first at a time.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet

from accounts.models import CATEGORIES, Case
from whatsapp.infra.clock import now_ms

PAGE: Final = 50
#: Rows that one page looks at when it is filtered twice.
WINDOW: Final = 2_000
#: Numbers in the tabs are exact up to here.
COUNTED: Final = 999

URGENT: Final = ("-priority", "due_at", "id")
#: Lists: what there is to see, and in which order.
LISTS: Final = {
    "open": URGENT,
    "mine": URGENT,
    "overdue": ("due_at", "id"),
    "flagged": URGENT,
    "waiting": URGENT,
    "closed": ("-closed_at", "-id"),
}


class Place(NamedTuple):
    """Behind which row a page begins: ``first`` is its priority, or when it was closed (ms; of "overdue": 0)."""

    first: int
    due_at: int
    id: uuid.UUID

    def text(self) -> str:
        return f"{self.first}.{self.due_at}.{self.id.hex}"

    @classmethod
    def of(cls, text: str) -> Place | None:
        """What :meth:`text` made; None for anything else."""
        try:
            first, due_at, hexadecimal = text.split(".")
            found = cls(int(first), int(due_at), uuid.UUID(hexadecimal))
        except ValueError:
            return None
        return found if abs(found.first) < 2**53 and 0 <= found.due_at < 2**53 else None


@dataclass(frozen=True)
class Wanted:
    """``name`` of :data:`LISTS`; ``category`` and ``kind``: '' for all; ``me``: username, for "mine"."""

    name: str = "open"
    category: str = ""
    kind: str = ""
    me: str = ""
    behind: Place | None = None

    @classmethod
    def of(cls, *, name: str, category: str, kind: str, me: str, behind: str) -> Wanted:
        """Of what an address says; what is not known counts as not said."""
        return cls(
            name=name if name in LISTS else "open",
            category=category if category in CATEGORIES else "",
            kind=kind if kind in Case.Subject.values else "",
            me=me,
            behind=Place.of(behind),
        )


class Page(NamedTuple):
    rows: list[Case]
    #: Where the next page begins; '' when there is none.
    more: str
    #: Whether the rows that were looked at ended before the page was full.
    cut: bool


def still_open() -> QuerySet[Case]:
    return Case.objects.exclude(state=Case.State.CLOSED)


def _listed(wanted: Wanted, now: int) -> QuerySet[Case]:
    if wanted.name == "closed":
        # Of those that are not, the column is empty; it stands at the front of the index.
        return Case.objects.filter(state=Case.State.CLOSED, closed_at__isnull=False)
    rows = still_open()
    if wanted.name == "mine":
        return rows.filter(claimed_by=wanted.me, state=Case.State.CLAIMED)
    if wanted.name == "overdue":
        return rows.filter(due_at__lt=now)
    if wanted.name == "flagged":
        return rows.filter(flagged_at__isnull=False)
    if wanted.name == "waiting":
        return Case.objects.filter(state=Case.State.WAITING)
    return rows


def page(wanted: Wanted, now: int | None = None) -> Page:
    """At most :data:`PAGE` rows."""
    rows = _listed(wanted, now_ms() if now is None else now)
    filters = {"category": wanted.category, "subject_kind": wanted.kind}
    filters = {name: value for name, value in filters.items() if value}
    if wanted.name == "open" and filters:
        # The first filter has an index of its own.
        name = next(iter(filters))
        rows = rows.filter(**{name: filters.pop(name)})
    if not filters:
        found = _behind(rows, wanted, PAGE + 1)
        return Page(found[:PAGE], _place(found[PAGE - 1], wanted) if len(found) > PAGE else "", False)
    window = _behind(rows, wanted, WINDOW)
    kept = [case for case in window if all(getattr(case, name) == value for name, value in filters.items())]
    if len(kept) > PAGE:
        return Page(kept[:PAGE], _place(kept[PAGE - 1], wanted), False)
    cut = len(window) == WINDOW
    return Page(kept, _place(window[-1], wanted) if cut else "", cut)


def _place(case: Case, wanted: Wanted) -> str:
    first = {"closed": case.closed_at or 0, "overdue": 0}.get(wanted.name, case.priority)
    return Place(first, case.due_at, case.pk).text()


def _behind(rows: QuerySet[Case], wanted: Wanted, number: int) -> list[Case]:
    """The next rows. Two ranges of the index instead of one condition over three columns, which no index serves."""
    at, order = wanted.behind, LISTS[wanted.name]
    if at is None:
        return list(rows.order_by(*order)[:number])
    if wanted.name == "closed":
        same = rows.filter(closed_at__lte=at.first).exclude(closed_at=at.first, id__gte=at.id)
        return list(same.order_by(*order)[:number])
    if wanted.name == "overdue":
        return list(_later(rows, at).order_by(*order)[:number])
    found = list(_later(rows.filter(priority=at.first), at).order_by("due_at", "id")[:number])
    if len(found) < number:
        found += rows.filter(priority__lt=at.first).order_by(*order)[: number - len(found)]
    return found


def _later(rows: QuerySet[Case], at: Place) -> QuerySet[Case]:
    return rows.filter(due_at__gte=at.due_at).exclude(due_at=at.due_at, id__lte=at.id)


def counts(me: str, now: int | None = None) -> dict[str, str]:
    """How many are in each list but that of closed ones; "999+" above :data:`COUNTED`."""
    moment = now_ms() if now is None else now
    return {name: count(name, me, moment) for name in LISTS if name != "closed"}


def count(name: str, me: str = "", now: int | None = None) -> str:
    """How many are in one of them."""
    rows = _listed(Wanted(name=name, me=me), now_ms() if now is None else now).order_by(*LISTS[name])
    return counted(rows)


def counted(rows: QuerySet[Any]) -> str:
    """How many rows, for people: "12", "999+"."""
    number = rows.values("pk")[: COUNTED + 1].count()
    return f"{number:,}" if number <= COUNTED else f"{COUNTED}+"
