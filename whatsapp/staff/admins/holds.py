"""Legal holds: placed and looked at by one, released by two."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account, LegalHold
from accounts.services import holds
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, confirm, releases
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.record_forms import HoldForm, ReviewForm
from whatsapp.staff.releases import PLACE_PERMISSION
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, shown, when

_PLACE = (
    "Nothing of this user is erased until the hold ends: account, files, reports and their evidence. Messages expire as ever."
    " The user is not told."
)
_REVIEW = "Say that you have looked at it, and why it is needed still."
_RELEASE = (
    "A second person approves it. Then an erasure that waits goes on, and what it deletes does not come back."
)


@admin.register(LegalHold)
class LegalHoldAdmin(ReadOnlyAdmin):
    list_display = ("matter", "user_shown", "state", "review", "placed", "placed_by")
    list_display_links = ("matter",)
    search_fields = ("user", "matter")
    search_help_text = "The id of a user or of a hold, or a whole reference"
    ordering = ("-id",)
    empty_title = "Nothing is held"
    empty_text = "What a court or an authority wants to be kept is placed here."
    actions_list = ("place",)
    actions_detail = ("look", "release")
    fieldsets = (
        (
            None,
            {"fields": (("matter", "state"), "user_shown", ("placed", "placed_by"), ("review", "end_shown"))},
        ),
        ("Released", {"fields": (("released", "released_by"), "release_reason")}),
    )
    readonly_fields = (
        "matter", "state", "user_shown", "placed", "placed_by", "review", "end_shown", "released", "released_by",
        "release_reason",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LegalHold], search_term: str
    ) -> tuple[QuerySet[LegalHold], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        found = uuid_of(wanted)
        if found is None:
            return queryset.filter(matter=wanted), False
        mine = queryset.filter(user=found)
        return (mine if mine.exists() else queryset.filter(pk=found)), False

    @display(description="User")
    def user_shown(self, hold: LegalHold) -> SafeString | str:
        if hold.released_at is not None and not Account.objects.filter(pk=hold.user).exists():
            return "erased"
        return link("accounts_account_change", hold.user)

    @display(description="State")
    def state(self, hold: LegalHold) -> SafeString:
        if hold.released_at is not None:
            return state_label("released")
        return state_label("overdue" if hold.review_at <= now_ms() else "in force")

    @display(description="Its end")
    def end_shown(self, hold: LegalHold) -> SafeString | str:
        asked = releases.asked_for(hold)
        if asked is None:
            return NONE
        who = link("approval", asked.pk, f"asked for by {asked.asked_name}")
        return format_html("{}, {}", who, when(asked.asked_at))

    @display(description="Review", ordering="review_at")
    def review(self, hold: LegalHold) -> str:
        return when(hold.review_at)

    @display(description="Placed", ordering="id")
    def placed(self, hold: LegalHold) -> str:
        return when(hold.placed_at)

    @display(description="Released")
    def released(self, hold: LegalHold) -> str:
        return when(hold.released_at) if hold.released_at else NONE

    # actions

    def has_place_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, PLACE_PERMISSION)

    def _one(self, object_id: Any) -> LegalHold:
        found = uuid_of(str(object_id))
        hold = LegalHold.objects.filter(pk=found).first() if found else None
        if hold is None:
            raise Http404
        return hold

    @action(description="Place a hold…", permissions=["place"], url_path="place", icon="gavel")
    def place(self, request: HttpRequest) -> HttpResponse:
        if not self.may(request, PLACE_PERMISSION):
            raise PermissionDenied
        by: Any = request.user
        back = self.address("changelist")
        form = HoldForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                with transaction.atomic():
                    hold = holds.place(
                        user_id=given["user"], matter=given["matter"], review_at=now_ms() + given["days"] * DAY_MS,
                        by=by.get_username(),
                    )  # fmt: skip
                    audit.record(
                        by=by, on=hold, flag=ADDITION, action="hold.placed", message=f"Legal hold: {given['reason']}"
                    )  # fmt: skip
            except Refused as refused:
                form.add_error(None, refused.message)
            else:
                messages.success(request, "The hold is in force.")
                return redirect(self.address("change", hold.pk))
        return confirm.page(
            request, site=self.admin_site, title="Place a legal hold", text=_PLACE, objects=[], form=form, button="Place it",
            back=back, danger=False,
        )  # fmt: skip

    def _look(self, request: HttpRequest, hold: LegalHold, form: Form) -> bool:
        by: Any = request.user
        review_at = now_ms() + form.cleaned_data["days"] * DAY_MS
        try:
            with transaction.atomic():
                holds.move_review(hold=hold, review_at=review_at)
                message = f"Reviewed, again by {shown(review_at)}: {form.cleaned_data['reason']}"
                audit.record(by=by, on=hold, action="hold.reviewed", message=message)
        except Refused:
            return False
        return True

    @action(description="Reviewed…", permissions=["place"], url_path="review", icon="event_available")
    def look(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=PLACE_PERMISSION, form=ReviewForm,
            do=lambda hold, form: self._look(request, hold, form), title="Is it needed still?", text=_REVIEW,
            button="It is needed", done="The review is moved.", nothing="It is released already.", danger=False,
        )  # fmt: skip

    @action(description="Ask for its end…", permissions=["place"], url_path="release", icon="lock_open")
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=PLACE_PERMISSION, form=ReasonForm,
            do=lambda hold, form: self._ask(request, hold, form), title="Ask for the end of this hold?", text=_RELEASE,
            button="Ask", done="It waits for a second person.", nothing="It waits for a second person already, or is released.",
        )  # fmt: skip

    def _ask(self, request: HttpRequest, hold: LegalHold, form: Form) -> bool:
        by: Any = request.user
        try:
            releases.ask(hold, by, form.cleaned_data["reason"])
        except approvals.Refusal:
            return False
        return True
