"""Forms of what is kept for, and given to, courts and authorities."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from accounts.limits import DAY_MS
from whatsapp.infra.clock import now_ms
from whatsapp.staff.forms import ReasonForm

MAX_REVIEW_DAYS: Final = 365


class ReviewForm(ReasonForm):
    days = forms.IntegerField(
        label="Review in days",
        min_value=1,
        max_value=MAX_REVIEW_DAYS,
        initial=90,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="From now. By then somebody asks whether it is needed still; an alert says so.",
    )
    field_order = ("user", "matter", "days", "reason")


class HoldForm(ReviewForm):
    user = forms.UUIDField(
        label="User", widget=UnfoldAdminTextInputWidget, help_text="The id of the account, ended ones too."
    )
    matter = forms.CharField(
        min_length=3,
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="The reference of the court or the authority. No names.",
    )


class LawfulForm(ReasonForm):
    authority = forms.CharField(min_length=3, max_length=200, widget=UnfoldAdminTextInputWidget)
    reference = forms.CharField(
        min_length=3,
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="Of the authority. No names.",
    )
    legal_basis = forms.CharField(
        min_length=3,
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="The order, and the law that it rests on.",
    )
    users = forms.CharField(
        max_length=1_000,
        widget=UnfoldAdminTextInputWidget,
        help_text="Ids of accounts, with spaces or commas between.",
    )
    since = forms.DateField(
        widget=UnfoldAdminTextInputWidget,
        input_formats=["%Y-%m-%d"],
        help_text="The first day (UTC), 2026-11-01.",
    )
    until = forms.DateField(
        label="Through",
        widget=UnfoldAdminTextInputWidget,
        input_formats=["%Y-%m-%d"],
        help_text="The last day (UTC), at most today.",
    )
    field_order = ("authority", "reference", "legal_basis", "users", "since", "until", "reason")

    def clean_users(self) -> list[uuid.UUID]:
        try:
            return [uuid.UUID(word) for word in self.cleaned_data["users"].replace(",", " ").split()]
        except ValueError:
            raise forms.ValidationError("This is no list of ids.") from None

    def times(self) -> tuple[int, int]:
        """Since and until, ms; until now at most."""
        since, until = (
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
            for day in (self.cleaned_data["since"], self.cleaned_data["until"])
        )
        now = now_ms()
        return since, min(until + DAY_MS, now) if until <= now else until + DAY_MS
