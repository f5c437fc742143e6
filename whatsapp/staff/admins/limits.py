"""Limits that one account or class has instead of everybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.models import LimitOverride
from accounts.services import limit_overrides
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import audit, confirm
from whatsapp.staff.admins.account_limits import CHANGE, CLASS_TEXT, LIMIT_TEXT, set_class_of, set_limit_of
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.limit_forms import ClassLimitForm, OneUser, UserClassForm, UserLimitForm
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import at, shown, when

_CLEAR = "What everybody has, or what the class has, holds again: on open sockets within a second."
_SET = (
    "Every account of this class goes by it, open sockets within a second."
    " It takes the place of what is set for this limit now."
)


@admin.register(LimitOverride)
class LimitOverrideAdmin(ReadOnlyAdmin):
    list_display = ("name", "of", "value_shown", "everybodys", "state", "ends", "made_by", "reason")
    list_display_links = ("name",)
    list_filter = ("scope",)
    search_fields = ("subject", "name")
    search_help_text = "The id of a user, the name of a class, or a limit"
    ordering = ("-pk",)
    sortable_by = ("name", "value_shown", "ends")
    actions = ("clear_chosen",)
    actions_list = ("set_for_user", "set_class_of_user", "set_for_class")
    actions_detail = ("clear",)
    fields = ("name", "of", ("value_shown", "everybodys"), ("state", "ends"), "reason", ("made_by", "made"))
    readonly_fields = (
        "name",
        "of",
        "value_shown",
        "everybodys",
        "state",
        "ends",
        "reason",
        "made_by",
        "made",
    )
    empty_title = "Everybody has the same limits"
    empty_text = "Set one for a user or a class here, or on the user's page."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LimitOverride], search_term: str
    ) -> tuple[QuerySet[LimitOverride], bool]:
        wanted = search_term.strip()
        return (queryset.filter(Q(subject=wanted) | Q(name=wanted)) if wanted else queryset), False

    @display(description="Of")
    def of(self, row: LimitOverride) -> SafeString:
        if row.scope == LimitOverride.Scope.CLASS:
            return format_html("class {}", row.subject)
        return format_html("user {}", link("accounts_account_change", row.subject))

    @display(description="Value", ordering="value")
    def value_shown(self, row: LimitOverride) -> str:
        return f"{row.value:,}"

    @display(description="Everybody's")
    def everybodys(self, row: LimitOverride) -> str:
        value = getattr(LIMITS, row.name, None)
        return "no limit any more" if value is None else f"{value:,}"

    @display(description="State")
    def state(self, row: LimitOverride) -> SafeString:
        return state_label("ended" if row.until is not None and row.until <= now_ms() else "in force")

    @display(description="Ends", ordering="until")
    def ends(self, row: LimitOverride) -> str:
        return "never" if row.until is None else at(row.until)

    @display(description="Made", ordering="created_at")
    def made(self, row: LimitOverride) -> str:
        return when(row.created_at)

    # actions

    def has_clear_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, CHANGE)

    def _clear(self, request: HttpRequest, row: LimitOverride, form: Form) -> bool:
        message = f"Limit {row.name} of {row.scope} {row.subject} cleared, was {row.value:,}: {form.cleaned_data['reason']}"
        with transaction.atomic():
            audit.record(by=request.user, on=row, message=message, flag=DELETION, action="limit.clear")  # type: ignore[arg-type]
            return limit_overrides.clear_override(scope=row.scope, subject=row.subject, name=row.name)

    @admin.action(description="Clear…", permissions=["clear"])
    def clear_chosen(self, request: HttpRequest, chosen: QuerySet[LimitOverride]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen, permission=CHANGE, form=ReasonForm, do=lambda row, form: self._clear(request, row, form),
            title="Clear these limits?", text=_CLEAR, button="Clear", done="Cleared", action="clear_chosen",
        )  # fmt: skip

    @action(description="Clear…", permissions=["clear"], url_path="clear", icon="undo")
    def clear(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = LimitOverride.objects.filter(pk=object_id).first() if str(object_id).isdecimal() else None
        if row is None:
            raise Http404
        return self.act_on_one(
            request, row, permission=CHANGE, form=ReasonForm, do=lambda row, form: self._clear(request, row, form),
            title="Clear this limit?", text=_CLEAR, button="Clear", done="It is cleared.", nothing="It was gone.",
            back=self.address("changelist"),
        )  # fmt: skip

    def _of_user(
        self,
        request: HttpRequest,
        form_class: type[OneUser],
        do: Callable[..., bool],
        *,
        title: str,
        text: str,
    ) -> HttpResponse:
        """As the actions of a user's page, which operators do not see."""
        if not self.may(request, CHANGE):
            raise PermissionDenied
        back = self.address("changelist")
        form = form_class(request.POST or None)
        if request.method == "POST" and form.is_valid():
            changed = do(form.cleaned_data["user"], form, request.user)
            messages.success(request, "It is set." if changed else "The user is of this class.")
            return redirect(back)
        return confirm.page(
            request, site=self.admin_site, title=title, text=text, objects=[], form=form, button="Set it", back=back,
            danger=False,
        )  # fmt: skip

    @action(description="Set for a user…", permissions=["clear"], url_path="set-for-user", icon="person")
    def set_for_user(self, request: HttpRequest) -> HttpResponse:
        title = "Set a limit of a user"
        return self._of_user(request, UserLimitForm, set_limit_of, title=title, text=LIMIT_TEXT)

    @action(description="Class of a user…", permissions=["clear"], url_path="class-of-user", icon="category")
    def set_class_of_user(self, request: HttpRequest) -> HttpResponse:
        title = "Set the class of a user"
        return self._of_user(request, UserClassForm, set_class_of, title=title, text=CLASS_TEXT)

    @action(description="Set for a class…", permissions=["clear"], url_path="set-for-class", icon="tune")
    def set_for_class(self, request: HttpRequest) -> HttpResponse:
        if not self.may(request, CHANGE):
            raise PermissionDenied
        by: Any = request.user
        back = self.address("changelist")
        form = ClassLimitForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            fields = form.cleaned_data
            with transaction.atomic():
                row = limit_overrides.set_override(
                    scope="class", subject=fields["limit_class"], name=fields["name"], value=fields["value"],
                    until=fields["until"], reason=fields["reason"], by=by.get_username(),
                )  # fmt: skip
                until = f" until {shown(fields['until'])}" if fields["until"] else ""
                message = f"Limit {row.name} of class {row.subject} set to {row.value:,}{until}: {row.reason}"
                audit.record(by=by, on=row, message=message, action="limit.set")
            messages.success(request, "The limit is set.")
            return redirect(back)
        return confirm.page(
            request, site=self.admin_site, title="Set a limit of a class", text=_SET, objects=[], form=form,
            button="Set it", back=back, danger=False,
        )  # fmt: skip
