"""Devices of users."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.errors import Refused
from accounts.models import Device, DeviceKeys
from accounts.services.devices import unlink_device
from accounts.services.prekeys import count
from accounts.services.sessions import revoke_session
from notifications.models import PushTarget
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit, banning
from whatsapp.staff.admins.base import Done, ReadOnlyAdmin
from whatsapp.staff.admins.search import number_of, uuid_of
from whatsapp.staff.forms import BanForm, ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, at, when

BAN, UNLINK, END = "accounts.change_account", "accounts.change_device", "staff.end_session"
_BAN_DEVICE_TEXT = (
    "The installation behind it is refused whatever account it signs in to, and can register nothing. Live sockets close "
    "within a second; nothing is lost."
)
LIFT_TEXT = "The person can sign in again at once, with the same devices."
_UNLINK_TEXT = (
    "Its tokens are void, its socket closes, its undelivered messages are dropped. This cannot be undone."
)
_END_TEXT = (
    "The device is signed out but stays linked and keeps its messages; the number must be verified again."
)

#: ``Device.unlinked_for`` in words.
REASONS = {
    "removed": "removed by its user",
    "logout": "signed out by itself",
    "idle": "nobody used it",
    "staff": "unlinked by staff",
    "ended": "its account ended",
}


def device_state(device: Device) -> str:
    if device.unlinked_at is not None:
        return "unlinked"
    if device.banned_until is not None and device.banned_until > now_ms():
        return "banned"
    return "signed out" if device.revoked_at is not None else "linked"


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = (
        "device_id",
        "owner",
        "shown_name",
        "state",
        "is_primary",
        "linked",
        "let_in",
        "last_seen",
    )
    search_fields = ("id", "user_id")
    search_help_text = "The id of a device or of its user, or the user's whole phone number"
    empty_title = "No device is linked"
    empty_text = (
        "A device is here from the moment that its number is verified, or that another one lets it in."
    )
    ordering = ("-id",)
    actions = ("unlink_chosen",)
    actions_detail = ({"title": "Act", "icon": "gavel", "items": ("end_session", "unlink", "ban", "lift")},)
    list_select_related = ()
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("device_id", "owner"),
                    ("shown_name", "state"),
                    ("is_primary", "registration_id"),
                    ("prekeys", "notified"),
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    ("linked", "let_in_by"),
                    ("last_seen", "idle_told"),
                    ("unlinked", "unlinked_because"),
                    ("signed_out", "banned_until_shown"),
                )
            },
        ),
    )
    readonly_fields = (
        "device_id", "owner", "shown_name", "state", "is_primary", "registration_id", "prekeys", "notified", "linked",
        "let_in_by", "last_seen", "idle_told", "unlinked", "unlinked_because", "signed_out", "banned_until_shown",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Device], search_term: str
    ) -> tuple[QuerySet[Device], bool]:
        if not search_term.strip():
            return queryset, False
        found = uuid_of(search_term)
        if found is not None:
            return queryset.filter(Q(pk=found) | Q(user_id=found)), False
        number = number_of(search_term)
        return (queryset.filter(user__phone=number) if number is not None else queryset.none()), False

    @display(description="Device", ordering="id")
    def device_id(self, device: Device) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', device.pk)

    @display(description="User")
    def owner(self, device: Device) -> SafeString:
        return link("accounts_account_change", device.user_id)

    @display(description="Name")
    def shown_name(self, device: Device) -> str:
        return device.name or NONE

    @display(description="State")
    def state(self, device: Device) -> SafeString:
        return state_label(device_state(device))

    @display(description="Primary", boolean=True)
    def is_primary(self, device: Device) -> bool:
        return device.primary

    @display(description="Linked", ordering="id")
    def linked(self, device: Device) -> str:
        return when(device.linked_at)

    @display(description="By")
    def let_in(self, device: Device) -> str:
        return "SMS" if device.linked_by_id is None else "a device"

    @display(description="One-time keys left")
    def prekeys(self, device: Device) -> str:
        """Numbers, never a key."""
        if not DeviceKeys.objects.filter(device=device).exists():
            return NONE
        left = count(device=device)
        return f"{left.classic} and {left.post_quantum} post-quantum"

    @display(description="Notified by")
    def notified(self, device: Device) -> str | SafeString:
        target = PushTarget.objects.filter(pk=device.pk).first()
        if target is None:
            return NONE
        return link("notifications_pushtarget_change", device.pk, target.app)

    @display(description="Last seen")
    def last_seen(self, device: Device) -> str:
        return when(device.last_seen_at)

    @display(description="Unlinked")
    def unlinked(self, device: Device) -> str:
        return when(device.unlinked_at)

    @display(description="Let in by")
    def let_in_by(self, device: Device) -> str | SafeString:
        if device.linked_by_id is None:
            return "a code by SMS"
        return link("accounts_device_change", device.linked_by_id)

    @display(description="Told that it is idle")
    def idle_told(self, device: Device) -> str:
        return when(device.idle_told_at)

    @display(description="Unlinked because")
    def unlinked_because(self, device: Device) -> str:
        return REASONS.get(device.unlinked_for, NONE)

    @display(description="Banned until")
    def banned_until_shown(self, device: Device) -> str:
        return at(device.banned_until)

    @display(description="Signed out")
    def signed_out(self, device: Device) -> str:
        return when(device.revoked_at)

    # actions

    def has_unlink_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, UNLINK)

    def has_end_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, END)

    def _unlink(self, request: HttpRequest, device: Device, form: Form) -> bool:
        with transaction.atomic():
            try:
                unlink_device(account=device.user, device_id=device.pk, reason="staff")
            except Refused:
                return False  # somebody was faster
            audit.record(
                by=request.user,
                on=device,
                action="device.unlinked",
                message=f"Unlinked: {form.cleaned_data['reason']}",
            )  # type: ignore[arg-type]
        return True

    def _ban(self, request: HttpRequest, device: Device, form: Form) -> Done:
        user: Any = request.user
        return banning.ban_device(device, user, form.cleaned_data["days"], form.cleaned_data["reason"])

    def _lift(self, request: HttpRequest, device: Device, form: Form) -> Done:
        user: Any = request.user
        return banning.lift_device(device, user, form.cleaned_data["reason"])

    def _end(self, request: HttpRequest, device: Device, form: Form) -> bool:
        with transaction.atomic():
            locked = Device.objects.select_for_update().filter(pk=device.pk, unlinked_at=None).first()
            if locked is None:
                return False
            revoke_session(device=locked, now=now_ms())
            audit.record(
                by=request.user,
                on=device,
                action="session.ended",
                message=f"Session ended: {form.cleaned_data['reason']}",
            )  # type: ignore[arg-type]
        return True

    def _one(self, object_id: Any) -> Device:
        found = uuid_of(str(object_id))
        device = Device.objects.select_related("user").filter(pk=found).first() if found else None
        if device is None:
            raise Http404
        return device

    @admin.action(description="Unlink…", permissions=["unlink"])
    def unlink_chosen(self, request: HttpRequest, chosen: QuerySet[Device]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen.select_related("user"), permission=UNLINK, form=ReasonForm,
            do=lambda device, form: self._unlink(request, device, form), title="Unlink these devices?", text=_UNLINK_TEXT,
            button="Unlink", done="Unlinked", action="unlink_chosen",
        )  # fmt: skip

    @action(description="Unlink…", permissions=["unlink"], url_path="unlink", icon="link_off")
    def unlink(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=UNLINK, form=ReasonForm,
            do=lambda device, form: self._unlink(request, device, form), title="Unlink this device?", text=_UNLINK_TEXT,
            button="Unlink", done="The device is unlinked.", nothing="This device is unlinked already.",
        )  # fmt: skip

    @action(description="End session…", permissions=["end"], url_path="end", icon="logout")
    def end_session(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=END, form=ReasonForm,
            do=lambda device, form: self._end(request, device, form), title="End the session of this device?",
            text=_END_TEXT, button="End session", done="The session is ended.", nothing="This device is unlinked.",
        )  # fmt: skip

    @action(description="Ban device…", permissions=["unlink"], url_path="ban", icon="block")
    def ban(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=UNLINK, form=BanForm,
            do=lambda device, form: self._ban(request, device, form), title="Ban this device?", text=_BAN_DEVICE_TEXT,
            button="Ban device", done="The device is banned.", nothing="",
        )  # fmt: skip

    @action(description="Lift ban…", permissions=["unlink"], url_path="lift", icon="lock_open")
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=UNLINK, form=ReasonForm,
            do=lambda device, form: self._lift(request, device, form), title="Lift the ban of this device?",
            text="The same installation can sign in and register again at once.", button="Lift the ban",
            done="The ban is lifted.", nothing="This device is not banned.", danger=False,
        )  # fmt: skip
