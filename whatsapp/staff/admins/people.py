"""Users. No contents of chats, no codes and no tokens are shown anywhere."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action, display

from accounts.models import Account, Device
from whatsapp.infra.clock import now_ms
from whatsapp.staff import banning
from whatsapp.staff.admins.account_limits import LimitActions
from whatsapp.staff.admins.base import Done, ReadOnlyAdmin
from whatsapp.staff.admins.devices import BAN, LIFT_TEXT, device_state
from whatsapp.staff.admins.pins import PinActions
from whatsapp.staff.admins.sanctions import SanctionInline
from whatsapp.staff.admins.search import number_of, uuid_of
from whatsapp.staff.forms import BanForm, ReasonForm
from whatsapp.staff.links import link, may_open
from whatsapp.staff.regions import region_named
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, at, when

_BAN_TEXT = (
    "Tokens are refused and live sockets close within a second. Devices stay linked and nothing is lost."
)


#: Class of limits → standing of who has it by a sanction, or by hand.
_STANDING = {"restricted": "limited", "slowed": "slowed"}


class DeviceInline(TabularInline):
    """The devices of a user, the newest first; unlinked ones stay as rows, so they come by pages."""

    model = Device
    fields = ("device", "name", "state", "is_primary", "linked", "last_seen")
    readonly_fields = fields
    ordering = ("-linked_at",)
    per_page = 10
    hide_title = True
    extra = 0
    can_delete = False
    verbose_name_plural = "Devices"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Device")
    def device(self, device: Device) -> SafeString:
        return link("accounts_device_change", device.pk)

    @display(description="State")
    def state(self, device: Device) -> SafeString:
        return state_label(device_state(device))

    @display(description="Primary", boolean=True)
    def is_primary(self, device: Device) -> bool:
        return device.primary

    @display(description="Linked")
    def linked(self, device: Device) -> str:
        return when(device.linked_at)

    @display(description="Last seen")
    def last_seen(self, device: Device) -> str:
        return when(device.last_seen_at)


@admin.register(Account)
class AccountAdmin(PinActions, LimitActions, ReadOnlyAdmin):
    list_display = ("user_id", "number", "shown_name", "devices_linked", "state", "created")
    search_fields = ("id", "phone")  # what is searched is in get_search_results: fields that have an index
    search_help_text = "A whole phone number, or an id"
    empty_title = "Nobody has registered"
    empty_text = "A user is here from the moment that a number is verified."
    ordering = ("-id",)  # UUIDv7: the newest first, by the primary key
    inlines = (DeviceInline, SanctionInline)
    actions = ("ban_chosen", "lift_chosen")
    actions_detail = (
        {"title": "Act", "icon": "gavel", "items": ("ban", "lift", "remove_pin", "set_limit", "set_class")},
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "user_id",
                    ("number", "shown_name"),
                    "about",
                    ("language", "region_shown"),
                    "created",
                )
            },
        ),
        ("Standing", {"fields": (("state", "banned_until_shown"), "pin_shown", "limits_shown", "links")}),
    )
    readonly_fields = (
        "user_id", "number", "shown_name", "about", "language", "region_shown", "created", "state", "banned_until_shown", "links",
        "pin_shown", "limits_shown",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        linked = Count("devices", filter=Q(devices__unlinked_at=None))
        match = request.resolver_match
        queryset: QuerySet[Account] = super().get_queryset(request)
        return (
            queryset.annotate(linked=linked) if match and match.url_name.endswith("_changelist") else queryset
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Account], search_term: str
    ) -> tuple[QuerySet[Account], bool]:
        if not search_term.strip():
            return queryset, False
        found = uuid_of(search_term)
        if found is not None:
            return queryset.filter(pk=found), False
        number = number_of(search_term)
        return (queryset.filter(phone=number) if number is not None else queryset.none()), False

    @display(description="User", ordering="id")
    def user_id(self, account: Account) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', account.pk)

    @display(description="Name")
    def shown_name(self, account: Account) -> str:
        return account.name or NONE

    @display(description="Devices")
    def devices_linked(self, account: Any) -> int:
        return int(account.linked)

    @display(description="Standing")
    def state(self, account: Account) -> SafeString:
        if account.retired_at is not None:
            return state_label("retired")
        if account.is_banned(now_ms()):
            return state_label("banned")
        return state_label(_STANDING.get(account.limit_class, "good"))

    @display(description="Phone")
    def number(self, account: Account) -> str:
        return account.phone or NONE

    @display(description="Region")
    def region_shown(self, account: Account) -> str:
        return region_named(account.region)

    @display(description="Banned until")
    def banned_until_shown(self, account: Account) -> str:
        return at(account.banned_until)

    @display(description="Registered", ordering="id")
    def created(self, account: Account) -> str:
        return when(account.created_at)

    @display(description="See also")
    def links(self, account: Account) -> SafeString:
        pages = (("online", "Sessions online"), ("staff_conversation_changelist", "Conversations"))
        offered = [link(page, text=text, query=str(account.pk)) for page, text in pages if may_open(page)]
        return format_html_join(" · ", "{}", ((one,) for one in offered)) or NONE

    # actions

    def _ban(self, request: HttpRequest, account: Account, form: Form) -> Done:
        user: Any = request.user
        return banning.ban(account, user, form.cleaned_data["days"], form.cleaned_data["reason"])

    def _lift(self, request: HttpRequest, account: Account, form: Form) -> Done:
        user: Any = request.user
        return banning.lift_all(account, user, form.cleaned_data["reason"])

    def has_ban_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, BAN)

    @admin.action(description="Ban…", permissions=["ban"])
    def ban_chosen(self, request: HttpRequest, chosen: QuerySet[Account]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen, permission=BAN, form=BanForm, do=lambda account, form: self._ban(request, account, form),
            title="Ban these users?", text=_BAN_TEXT, button="Ban", done="Banned", action="ban_chosen",
        )  # fmt: skip

    @admin.action(description="Lift the ban…", permissions=["ban"])
    def lift_chosen(self, request: HttpRequest, chosen: QuerySet[Account]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen, permission=BAN, form=ReasonForm, do=lambda account, form: self._lift(request, account, form),
            title="Lift the ban of these users?", text=LIFT_TEXT, button="Lift the ban", done="Lifted",
            action="lift_chosen", danger=False,
        )  # fmt: skip

    def _one(self, object_id: Any) -> Account:
        found = uuid_of(str(object_id))
        account = Account.objects.filter(pk=found).first() if found else None
        if account is None:
            raise Http404
        return account

    @action(description="Ban…", permissions=["ban"], url_path="ban", icon="block")
    def ban(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=BAN, form=BanForm,
            do=lambda account, form: self._ban(request, account, form),
            title="Ban this user?", text=_BAN_TEXT, button="Ban", done="The user is banned.", nothing="",
        )  # fmt: skip

    @action(description="Lift the ban…", permissions=["ban"], url_path="lift", icon="lock_open")
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act_on_one(
            request, self._one(object_id), permission=BAN, form=ReasonForm,
            do=lambda account, form: self._lift(request, account, form),
            title="Lift the ban?", text=LIFT_TEXT, button="Lift the ban", done="The ban is lifted.",
            nothing="This user is not banned.", danger=False,
        )  # fmt: skip
