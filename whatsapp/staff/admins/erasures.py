"""Accounts on their way out of every store: how far each is, what it waits for, whether it is late. Read-only; who may has
one looked at again at once."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts import stores, tasks
from accounts.limits import DAY_MS
from accounts.models import Erasure
from accounts.services import erasure, holds
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, shown, when

CHANGE: Final = "accounts.change_erasure"
State = Erasure.State
#: Of these nothing is late: one is over, a hold is no delay of ours.
_NOT_LATE: Final = (State.DONE, State.HELD)
_AGAIN: Final = (
    "A worker goes on with it now instead of at the next try. Nothing is deleted that would not be deleted then, and a legal hold"
    " keeps what it keeps."
)
_WORDS: Final = {
    State.SOFT: "soft",
    State.ERASING: "erasing",
    State.VERIFYING: "searched for",
    State.HELD: "held",
    State.DONE: "done",
}


class TroubleFilter(admin.SimpleListFilter):
    """What somebody has to look at: few rows among those that are not done."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("late", "Late"), ("failing", "The last try failed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Erasure]) -> QuerySet[Erasure]:
        if self.value() == "late":
            return queryset.exclude(state=State.DONE).exclude(state=State.HELD).filter(due_at__lte=now_ms())
        if self.value() == "failing":
            return queryset.exclude(state=State.DONE).exclude(error="")
        return queryset


def waiting_stores(row: Erasure) -> list[str]:
    """Names of the stores that have not said yet that nothing is left."""
    return [store.name for store in stores.all_stores() if store.name not in row.stores]


def _hold(row: Erasure) -> SafeString:
    return link("accounts_legalhold_changelist", text="a legal hold", query=str(row.user))


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    list_display = ("number", "user_shown", "state_shown", "step", "age", "waits_for", "tries")
    list_display_links = ("number",)
    list_filter = ("state", TroubleFilter)
    search_fields = ("user",)  # what is searched is in get_search_results: fields that have an index
    search_help_text = "The id of a user, or a number"
    ordering = ("-id",)
    empty_title = "No account has ended"
    empty_text = (
        "An account that is deleted goes out of every store within the policy; how far it is stands here."
    )
    actions_detail = ("again",)
    fieldsets = (
        (None, {"fields": (("number", "state_shown"), "user_shown", ("asked", "erases"), ("due", "age"), "waits_for_all")}),
        ("Stores", {"fields": ("stores_shown",)}),
        ("Tries", {"fields": (("tries", "next_look"), "found", "finished")}),
    )  # fmt: skip
    readonly_fields = (
        "number", "state_shown", "user_shown", "asked", "erases", "due", "age", "waits_for_all", "stores_shown", "tries",
        "next_look", "found", "finished",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Erasure], search_term: str
    ) -> tuple[QuerySet[Erasure], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        if (found := uuid_of(wanted)) is not None:
            return queryset.filter(Q(user=found) & ~Q(state=State.DONE)), False
        number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 19 else -1
        return queryset.filter(pk=number), False

    @display(description="Erasure", ordering="id")
    def number(self, row: Erasure) -> int:
        return int(row.pk)

    @display(description="User")
    def user_shown(self, row: Erasure) -> SafeString | str:
        """The id of one that is done is a random one."""
        return (
            "erased"
            if row.state == State.DONE
            else format_html('<span class="staff-mono">{}</span>', row.user)
        )

    @display(description="State")
    def state_shown(self, row: Erasure) -> SafeString:
        late = row.state not in _NOT_LATE and row.due_at <= now_ms()
        labels = state_label(_WORDS[State(row.state)])
        return labels + format_html(" {}", state_label("late")) if late else labels

    @display(description="Step")
    def step(self, row: Erasure) -> SafeString | str:
        if row.state in (State.SOFT, State.DONE):
            return NONE
        every = len(stores.all_stores())
        done = every - len(waiting_stores(row))
        return format_html('<span class="staff-nowrap">{} of {} stores</span>', done, every)

    @display(description="Asked", ordering="id")
    def asked(self, row: Erasure) -> str:
        return when(row.asked_at)

    @display(description="Age")
    def age(self, row: Erasure) -> SafeString:
        """Against the days of the policy."""
        end = row.finished_at or now_ms()
        days, most = (end - row.asked_at) // DAY_MS, (row.due_at - row.asked_at) // DAY_MS
        said = f"took {days} of {most} days" if row.state == State.DONE else f"day {days} of {most}"
        return format_html('<span class="staff-nowrap">{}</span>', said)

    @display(description="Waits for")
    def waits_for(self, row: Erasure) -> SafeString | str:
        if row.state == State.SOFT:
            return format_html("what was sent and is still on its way: {}", when(row.erase_at))
        if row.state == State.HELD:
            return _hold(row)
        if row.state == State.VERIFYING:
            return "a search of every store, with others"
        return ", ".join(waiting_stores(row)) or NONE if row.state == State.ERASING else NONE

    @display(description="Waits for")
    def waits_for_all(self, row: Erasure) -> SafeString | str:
        """What comes behind it as well: a question for one row, not for a list."""
        if row.state == State.SOFT and holds.is_held(row.user):
            return format_html("{}, and then for {}", self.waits_for(row), _hold(row))
        return self.waits_for(row)

    @display(description="Tries that failed")
    def tries(self, row: Erasure) -> str:
        return f"{row.attempts:,}: {row.error}" if row.error else NONE

    @display(description="Erased from")
    def erases(self, row: Erasure) -> str:
        return f"{shown(row.erase_at)} UTC"

    @display(description="Due")
    def due(self, row: Erasure) -> str:
        return when(row.due_at)

    @display(description="Next look")
    def next_look(self, row: Erasure) -> str:
        return NONE if row.state == State.DONE else when(row.next_at)

    @display(description="The last search")
    def found(self, row: Erasure) -> str:
        if row.error.startswith(erasure.LEFT):
            where = row.error.removeprefix(erasure.LEFT).strip(": ")
            return f"found something{f' in {where}' if where else ''}; every store is asked again"
        return "found nothing" if row.state == State.DONE else "was not yet"

    @display(description="Finished")
    def finished(self, row: Erasure) -> SafeString | str:
        return when(row.finished_at)

    @display(description="Stores")
    def stores_shown(self, row: Erasure) -> SafeString | str:
        if row.state == State.SOFT:
            return "None was asked yet."
        rows = (
            (store.name, when(row.stores.get(store.name)) if row.stores.get(store.name) else "waits")
            for store in stores.all_stores()
        )
        return format_html(
            '<dl class="staff-rows">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows)
        )

    # actions

    def has_again_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, CHANGE)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only where something is to be done now."""
        row = self._one(object_id)
        waits = row.state == State.DONE or row.erase_at > now_ms()
        return [] if waits else super().get_actions_detail(request, object_id)

    def _one(self, object_id: Any) -> Erasure:
        row = Erasure.objects.filter(pk=object_id).first() if str(object_id).isdecimal() else None
        if row is None:
            raise Http404
        return row

    def _again(self, request: HttpRequest, row: Erasure, form: Form) -> bool:
        by: Any = request.user
        with transaction.atomic():
            if not erasure.hurry(row.pk):
                return False
            audit.record(
                by=by,
                on=row,
                action="erasure.retried",
                message=f"Looked at again: {form.cleaned_data['reason']}",
            )
            transaction.on_commit(lambda: tasks.erase_soon(row.pk))
        return True

    @action(description="Look again now…", permissions=["again"], url_path="retry", icon="replay")
    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=CHANGE, form=ReasonForm,
            do=lambda row, form: self._again(request, row, form), title="Look at this erasure again now?", text=_AGAIN,
            button="Look again", done="A worker looks at it as soon as it is free.",
            nothing="It is done, its time has not come, or a search is under way.", danger=False,
        )  # fmt: skip
