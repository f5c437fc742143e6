"""Sanctions: what was done about accounts, by triggers and by staff; taken back and appeals decided from here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action, display

from accounts.models import Sanction
from whatsapp.infra.clock import now_ms
from whatsapp.staff import banning, fresh_eyes
from whatsapp.staff.admins.base import Done, ReadOnlyAdmin
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, when

#: Lift one, and decide an appeal.
CHANGE = fresh_eyes.DECIDE
_LIFT_TEXT = "What it did ends within a second, and it counts for nothing any more. Other sanctions of the user stay in force."


def state_of(sanction: Sanction) -> str:
    """in force, over, or lifted."""
    if sanction.lifted_at is not None:
        return "lifted"
    return "in force" if sanction.in_force(now_ms()) else "over"


def until_of(sanction: Sanction) -> SafeString | str:
    return when(sanction.until) if sanction.until is not None else "for good"


def _evidence(name: str, value: Any) -> SafeString | str:
    """Ids as links to where more is; all else as it was counted."""
    page = {"case": "moderation_case", "approval": "approval"}.get(name)
    found = uuid_of(str(value)) if page else None
    if page is None or found is None:
        return "yes" if value is True else str(value)
    return link(page, found)


class SanctionInline(TabularInline):
    """The history of a user, the newest first."""

    model = Sanction
    fields = ("sanction", "why", "state", "imposed", "ends", "appeal_state", "imposed_by")
    readonly_fields = fields
    ordering = ("-imposed_at",)
    per_page = 10
    hide_title = True
    extra = 0
    can_delete = False
    verbose_name_plural = "Sanctions"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Kind")
    def sanction(self, sanction: Sanction) -> SafeString:
        return link("accounts_sanction_change", sanction.pk, sanction.get_kind_display())

    @display(description="Reason")
    def why(self, sanction: Sanction) -> str:
        return sanction.reason

    @display(description="State")
    def state(self, sanction: Sanction) -> SafeString:
        return state_label(state_of(sanction))

    @display(description="Imposed")
    def imposed(self, sanction: Sanction) -> str:
        return when(sanction.imposed_at)

    @display(description="Until")
    def ends(self, sanction: Sanction) -> SafeString | str:
        return until_of(sanction)

    @display(description="Appeal")
    def appeal_state(self, sanction: Sanction) -> str:
        return sanction.appeal or NONE


@admin.register(Sanction)
class SanctionAdmin(ReadOnlyAdmin):
    list_display = ("kind_shown", "reason", "user", "state", "imposed", "ends", "appeal_state", "imposed_by")
    list_filter = ("kind", "appeal")
    sortable_by = ("imposed",)
    search_fields = ("account",)  # what is searched is in get_search_results: fields that have an index
    search_help_text = "The id of a user or of a sanction"
    ordering = ("-id",)  # UUIDv7: the newest first, by the primary key
    empty_title = "Nobody is sanctioned"
    empty_text = "What triggers and moderators impose is listed here."
    actions = ("lift_chosen",)
    actions_detail = ("lift", "grant", "uphold")
    fieldsets = (
        (None, {"fields": (("kind_shown", "state"), "user", ("reason", "imposed_by"), ("imposed", "ends"))}),
        ("What was seen", {"fields": ("evidence_shown",)}),
        ("Appeal", {"fields": (("appeal_state", "appealed"), "appeal_said")}),
        ("Taken back", {"fields": (("lifted", "lifted_by"), "lift_reason")}),
    )
    readonly_fields = (
        "kind_shown", "state", "user", "reason", "imposed_by", "imposed", "ends", "evidence_shown", "appeal_state", "appealed",
        "appeal_said", "lifted", "lifted_by", "lift_reason",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Sanction], search_term: str
    ) -> tuple[QuerySet[Sanction], bool]:
        if not search_term.strip():
            return queryset, False
        found = uuid_of(search_term)
        if found is None:
            return queryset.none(), False
        mine = queryset.filter(account=found)
        return (mine if mine.exists() else queryset.filter(pk=found)), False

    @display(description="Kind")
    def kind_shown(self, sanction: Sanction) -> str:
        return str(sanction.get_kind_display())

    @display(description="User")
    def user(self, sanction: Sanction) -> SafeString:
        return link("accounts_account_change", sanction.account_id)

    @display(description="State")
    def state(self, sanction: Sanction) -> SafeString:
        return state_label(state_of(sanction))

    @display(description="Imposed", ordering="id")
    def imposed(self, sanction: Sanction) -> str:
        return when(sanction.imposed_at)

    @display(description="Until")
    def ends(self, sanction: Sanction) -> SafeString | str:
        return until_of(sanction)

    @display(description="Evidence")
    def evidence_shown(self, sanction: Sanction) -> SafeString | str:
        rows = [(name, _evidence(name, value)) for name, value in sorted(sanction.evidence.items())]
        return format_html_join("", '<div><span class="staff-mono">{}</span> {}</div>', rows) or NONE

    @display(description="Appeal")
    def appeal_state(self, sanction: Sanction) -> SafeString | str:
        return state_label(sanction.appeal) if sanction.appeal else NONE

    @display(description="Asked")
    def appealed(self, sanction: Sanction) -> str:
        return when(sanction.appeal_at)

    @display(description="What the user says")
    def appeal_said(self, sanction: Sanction) -> SafeString | str:
        return (
            format_html('<p class="staff-said">{}</p>', sanction.appeal_text)
            if sanction.appeal_text
            else NONE
        )

    @display(description="Lifted")
    def lifted(self, sanction: Sanction) -> str:
        return when(sanction.lifted_at)

    # actions

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what can still be done about it."""
        sanction = self._one(object_id)
        over = {"lift"} if sanction.lifted_at is not None else set()
        if sanction.appeal != Sanction.Appeal.ASKED:
            over |= {"grant", "uphold"}
        names = {f"accounts_sanction_{name}" for name in over}
        return [one for one in super().get_actions_detail(request, object_id) if one.action_name not in names]

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, CHANGE)

    def _lift(self, request: HttpRequest, sanction: Sanction, form: Form) -> Done:
        user: Any = request.user
        return banning.lift(sanction, user, form.cleaned_data["reason"])

    def _decide(self, request: HttpRequest, sanction: Sanction, form: Form, *, grant: bool) -> Done:
        user: Any = request.user
        return banning.decide_appeal(sanction, user, form.cleaned_data["reason"], grant=grant)

    @admin.action(description="Lift…", permissions=["decide"])
    def lift_chosen(self, request: HttpRequest, chosen: QuerySet[Sanction]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen, permission=CHANGE, form=ReasonForm, do=lambda one, form: self._lift(request, one, form),
            title="Lift these sanctions?", text=_LIFT_TEXT, button="Lift", done="Lifted", action="lift_chosen", danger=False,
        )  # fmt: skip

    def _own(self, request: HttpRequest, sanction: Sanction) -> HttpResponse | None:
        """Told before they have written why."""
        user: Any = request.user
        if not self.may(request, CHANGE) or not fresh_eyes.needed(sanction, user):
            return None
        messages.info(request, fresh_eyes.OWN)
        return redirect(self.address("change", sanction.pk))

    def _one(self, object_id: Any) -> Sanction:
        found = uuid_of(str(object_id))
        sanction = Sanction.objects.filter(pk=found).first() if found else None
        if sanction is None:
            raise Http404
        return sanction

    @action(description="Lift…", permissions=["decide"], url_path="lift", icon="lock_open")
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=CHANGE, form=ReasonForm,
            do=lambda one, form: self._lift(request, one, form), title="Lift this sanction?", text=_LIFT_TEXT, button="Lift",
            done="The sanction is lifted.", nothing="It was lifted before.", danger=False,
        )  # fmt: skip

    @action(description="Grant appeal…", permissions=["decide"], url_path="grant", icon="thumb_up")
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        sanction = self._one(object_id)
        return self._own(request, sanction) or self.act_on_one(
            request, sanction, permission=CHANGE, form=ReasonForm,
            do=lambda one, form: self._decide(request, one, form, grant=True), title="Grant the appeal?", text=_LIFT_TEXT,
            button="Grant and lift", done="The appeal is granted.", nothing="No appeal is open.", danger=False,
        )  # fmt: skip

    @action(description="Turn appeal down…", permissions=["decide"], url_path="uphold", icon="thumb_down")
    def uphold(self, request: HttpRequest, object_id: str) -> HttpResponse:
        sanction = self._one(object_id)
        return self._own(request, sanction) or self.act_on_one(
            request, sanction, permission=CHANGE, form=ReasonForm,
            do=lambda one, form: self._decide(request, one, form, grant=False), title="Turn the appeal down?",
            text="The sanction stays, and the user reads on the page of the appeal that a person has decided so.",
            button="Turn down", done="The appeal is turned down.", nothing="No appeal is open.",
        )  # fmt: skip
