"""Forms that give an account or a class another limit."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account
from accounts.services import limit_overrides
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limit_table import TABLE
from whatsapp.infra.limits import LIMITS
from whatsapp.staff.forms import ReasonForm

MAX_DAYS: Final = 3_650


def _choices() -> list[tuple[str, str]]:
    return [("", "Choose…")] + [
        (name, f"{name} ({getattr(LIMITS, name):,}; {about.least:,} to {about.most:,})")
        for name, about in TABLE.items()
        if about.overridable
    ]


class LimitForm(ReasonForm):
    """For one account."""

    name = forms.ChoiceField(
        label="Limit",
        choices=_choices,
        widget=UnfoldAdminSelectWidget,
        help_text="In brackets: what everybody has, and between what it may be set.",
    )
    value = forms.IntegerField(min_value=0, widget=UnfoldAdminIntegerFieldWidget)
    days = forms.IntegerField(
        label="For days",
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="From now; empty: until it is cleared.",
    )
    field_order = ("user", "limit_class", "name", "value", "days", "reason")

    def clean(self) -> dict[str, Any]:
        fields = super().clean() or self.cleaned_data
        days = fields.get("days")
        fields["until"] = now_ms() + days * DAY_MS if days else None
        if {"name", "value", "reason"} <= fields.keys():
            try:
                limit_overrides.check(
                    name=fields["name"],
                    value=fields["value"],
                    until=fields["until"],
                    reason=fields["reason"],
                    now=now_ms(),
                )
            except Refused as refused:
                self.add_error((refused.details or {}).get("field"), refused.message)
        return fields


class OneUser(forms.Form):
    """Whose: for who may set limits and may not open the pages of users."""

    user = forms.UUIDField(
        label="User", widget=UnfoldAdminTextInputWidget, help_text="The id of the account."
    )

    def clean_user(self) -> Account:
        found = Account.objects.filter(pk=self.cleaned_data["user"], retired_at=None).first()
        if found is None:
            raise forms.ValidationError("There is no such user.")
        return found


class UserLimitForm(OneUser, LimitForm):
    """For one account, by its id."""


class ClassLimitForm(LimitForm):
    """For a class, which is made by its first limit."""

    limit_class = forms.RegexField(
        label="Class",
        regex=limit_overrides.CLASS_NAME,
        widget=UnfoldAdminTextInputWidget,
        help_text="slowed, restricted, business, or a name of your own: small letters, digits, - and _.",
    )


class ClassForm(ReasonForm):
    """Which class an account is of."""

    limit_class = forms.ChoiceField(
        label="Class",
        choices=lambda: [("", "none"), *((name, name) for name in limit_overrides.classes())],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ("user", "limit_class", "reason")


class UserClassForm(OneUser, ClassForm):
    """The same, by the account's id."""
