"""Accounts and devices for staff. No contents of chats, no codes and no tokens are shown anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.limits import DAY_MS
from accounts.models import Account, Device
from accounts.services import bans
from accounts.services.devices import unlink_device
from whatsapp.infra.clock import now_ms

BAN_DAYS = 30


def shown(ms: int | None) -> str:
    """A time for people, UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else ""


class ReadOnlyAdmin(admin.ModelAdmin):
    """Accounts are made and erased by their owners; staff act through actions, which tell the gateways."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("id", "phone", "name", "region", "banned", "created")
    search_fields = ("=id", "=phone")
    ordering = ("-id",)
    actions = ("ban", "lift_ban")
    show_full_result_count = False

    @admin.display(description="banned until")
    def banned(self, account: Account) -> str:
        return shown(account.banned_until)

    @admin.display(description="created")
    def created(self, account: Account) -> str:
        return shown(account.created_at)

    @admin.action(description=f"Ban for {BAN_DAYS} days", permissions=["change"])
    def ban(self, request: HttpRequest, chosen: QuerySet[Account]) -> None:
        until = now_ms() + BAN_DAYS * DAY_MS
        for account in chosen:
            bans.ban(account=account, until=until)
            self.log_change(request, account, f"Banned until {shown(until)}.")
        self.message_user(request, "Banned.", messages.SUCCESS)

    @admin.action(description="Lift the ban", permissions=["change"])
    def lift_ban(self, request: HttpRequest, chosen: QuerySet[Account]) -> None:
        for account in chosen:
            bans.lift(account=account)
            self.log_change(request, account, "Ban lifted.")
        self.message_user(request, "Lifted.", messages.SUCCESS)


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_id", "name", "primary", "linked", "last_seen", "unlinked")
    search_fields = ("=id", "=user__id")
    ordering = ("-id",)
    actions = ("unlink",)
    show_full_result_count = False

    @admin.display(description="linked")
    def linked(self, device: Device) -> str:
        return shown(device.linked_at)

    @admin.display(description="last seen")
    def last_seen(self, device: Device) -> str:
        return shown(device.last_seen_at)

    @admin.display(description="unlinked")
    def unlinked(self, device: Device) -> str:
        return shown(device.unlinked_at)

    @admin.action(description="Unlink", permissions=["change"])
    def unlink(self, request: HttpRequest, chosen: QuerySet[Device]) -> None:
        for device in chosen.filter(unlinked_at=None).select_related("user"):
            unlink_device(account=device.user, device_id=device.pk)
            self.log_change(request, device, "Unlinked.")
        self.message_user(request, "Unlinked.", messages.SUCCESS)
