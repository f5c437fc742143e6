"""Conversations whose log is on Cassandra, for the pages that show those of PostgreSQL: the same rows, made of its answers.

Cassandra has no order of conversations and no search but by id and by member, so the list without a search shows some of those
that are active now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from delivery.store import chosen
from delivery.store.cassandra.overview import Sizes, Summary
from delivery.store.interface import Unavailable
from delivery.store.values import Interval
from whatsapp.infra.clock import now_ms
from whatsapp.staff.admins.base import BoundedChangeList
from whatsapp.staff.counting import Number
from whatsapp.staff.models import Conversation

#: Shown of a day without a search.
ACTIVE_SHOWN: Final = 100
_DAY_MS: Final = 86_400_000

AWAY: Final = "Cassandra cannot be reached: nothing is known of the conversations there."
_EXPLAINED: Final = (
    f"Messages are on Cassandra, which lists no conversations in order: up to {ACTIVE_SHOWN} of those with an event today or "
    "yesterday are shown. Search finds every other one."
)


def conversation(found: Summary) -> Conversation:
    """As a row of the page; it is in no table."""
    made: Any = Conversation(
        conversation=found.conversation,
        kind=found.kind,
        created_at=found.created_at,
        head=found.head,
        ordinal=found.ordinal,
        floor=found.floor,
        floor_ordinal=found.floor_ordinal,
        members=found.members,
    )
    made.member_count, made.last_at = found.members, found.last_at or None
    return made  # type: ignore[no-any-return]


def conversations(ids: Sequence[str]) -> list[Conversation]:
    """Those that there are. Raises ``Unavailable``."""
    return [conversation(found) for found in chosen.shown("summaries", list(ids))]


def of_member(user: str) -> list[str]:
    """Ids, the latest made first. Raises ``Unavailable``."""
    found: list[str] = chosen.shown("of_member", user)
    return found


def active(limit: int, days: int = 2) -> list[str]:
    """Ids of some with an event today or on the days before, the latest made first. Raises ``Unavailable``."""
    found: set[str] = set()
    for day in range(days):
        if len(found) < limit:
            found |= set(chosen.shown("active", now_ms() - day * _DAY_MS, limit - len(found)))
    return sorted(found, reverse=True)[:limit]


def sizes(id_: str, sample: int) -> Sizes:
    """Raises ``Unavailable``."""
    found: Sizes = chosen.shown("sizes", id_, sample)
    return found


def members(id_: str) -> list[Interval]:
    """Raises ``Unavailable``."""
    found: list[Interval] = chosen.shown("members", id_)
    return found


class Pages(Paginator):
    """Of a list of ids. What the template asks of :class:`whatsapp.staff.counting.BoundedPaginator`."""

    cut = False

    @property
    def number(self) -> Number:
        return Number(self.count, True)


class ElsewhereChangeList(BoundedChangeList):
    """Of conversations on Cassandra. ``model_admin.ids_of`` says which a search means."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return super().get_queryset(request, exclude_parameters).none()

    def get_results(self, request: HttpRequest) -> None:
        ids: list[str] = []
        rows: list[Conversation] = []
        paginator = Pages(ids, self.list_per_page)
        try:
            if self.query.strip():
                ids = self.model_admin.ids_of(self.query)
            else:
                ids = active(ACTIVE_SHOWN)
                messages.info(request, _EXPLAINED)
            paginator = Pages(ids, self.list_per_page)
            rows = conversations(paginator.page(self.page_num).object_list)
        except Unavailable:
            messages.error(request, AWAY)
        except InvalidPage:
            raise IncorrectLookupParameters from None
        self.result_count = self.full_result_count = len(ids)
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.result_list = rows
        self.can_show_all = False
        self.multi_page = paginator.num_pages > 1
        self.paginator = paginator
