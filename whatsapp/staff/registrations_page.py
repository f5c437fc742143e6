"""Codes by prefix of numbers: how many came back, what they cost, what becomes of the prefix; and the switches for them."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.guards import overview, traffic
from accounts.models import SmsPrefix
from accounts.services import sms_switches
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import audit, confirm
from whatsapp.staff.forms import ReasonForm

_VIEW: Final = "accounts.view_smsprefix"
_CHANGE: Final = "accounts.change_smsprefix"
_TEXT: Final = (
    "It holds from the next request on. Sessions live on: only new codes are concerned. “No messages” of the empty prefix is the"
    " switch for everything; a trusted prefix is not judged by the codes that come back, and the caps of spending hold for it."
)


class SwitchForm(ReasonForm):
    prefix = forms.RegexField(
        regex=r"^\+?[0-9]{0,15}\Z",
        required=False,
        max_length=16,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first digits of the numbers, with their country; empty: all numbers.",
    )
    mode = forms.ChoiceField(
        label="From now on", choices=SmsPrefix.Mode.choices, widget=UnfoldAdminSelectWidget
    )
    field_order = ("prefix", "mode", "reason")

    def clean_prefix(self) -> str:
        return str(self.cleaned_data["prefix"]).removeprefix("+")


def registrations(request: HttpRequest) -> HttpResponse:
    """``q``: digits that prefixes begin with."""
    user: Any = request.user
    if not user.has_perm(_VIEW):
        raise PermissionDenied
    now = now_ms()
    wanted = request.GET.get("q", "").strip().removeprefix("+")[:15]
    begin = wanted if wanted.isascii() and wanted.isdigit() else ""
    switches = overview.switches()
    spent = traffic.spent("", now)
    context = {
        **admin.site.each_context(request),
        "title": "Registrations",
        "rows": overview.rows(now, begin),
        "most": overview.MOST,
        "query": begin,
        "switches": switches,
        "all_off": any(row.prefix == "" and row.mode == SmsPrefix.Mode.OFF for row in switches),
        "spent": spent,
        "cap": LIMITS.sms_units_per_day,
        "percent": spent * 100 // max(LIMITS.sms_units_per_day, 1),
        "prefix_cap": LIMITS.sms_units_per_prefix_day,
        "may_change": user.has_perm(_CHANGE),
    }
    return TemplateResponse(request, "staff/registrations.html", context)


def switch(request: HttpRequest) -> HttpResponse:
    """``prefix`` and ``mode`` of the address are what the form begins with."""
    by: Any = request.user
    if not by.has_perm(_CHANGE):
        raise PermissionDenied
    initial = {"prefix": request.GET.get("prefix", "")[:16], "mode": request.GET.get("mode", "off")[:4]}
    form = SwitchForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        with transaction.atomic():
            row = sms_switches.set_switch(
                prefix=fields["prefix"], mode=fields["mode"], reason=fields["reason"], by=by.get_username()
            )
            label = SmsPrefix.Mode(row.mode).label
            audit.record(by=by, on=row, action="sms.switch", message=f"Codes to {row}: {label}: {row.reason}")
        messages.success(request, f"Set for {row}.")
        return redirect("admin:registrations")
    return confirm.page(
        request, site=admin.site, title="Codes to numbers that begin like this", text=_TEXT, objects=[], form=form,
        button="Set it", back=reverse("admin:registrations"), danger=True,
    )  # fmt: skip
