"""Forms of actions: each asks for a reason, which goes into the audit log."""

from __future__ import annotations

from django import forms
from django.conf import settings
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

MAX_BAN_DAYS = 3_650


class ReasonForm(forms.Form):
    reason = forms.CharField(
        min_length=5,
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the audit log. No names, numbers or contents of chats.",
    )


class BanForm(ReasonForm):
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_BAN_DAYS,
        initial=30,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"From now. A second person has to agree to more than {settings.STAFF_BAN_DAYS}.",
    )
    field_order = ("days", "reason")
