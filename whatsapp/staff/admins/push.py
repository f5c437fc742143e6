"""Where devices are notified, and what became of it. Of a token only its end is shown, of keys only that there are some."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.models import Device
from notifications import tasks, tokens
from notifications.models import PushState, PushTarget
from whatsapp.staff import audit
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import number_of, uuid_of
from whatsapp.staff.counting import EXACT, bounded
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, when

TEST = "notifications.test_pushtarget"
_TEXT = (
    "The device shows that there is something new, without anything that was written. What its provider answers is on this page "
    "a few seconds later; a token that it calls dead is removed."
)


#: Of one user, the newest.
_DEVICES: Final = 1_000


class AppFilter(admin.SimpleListFilter):
    """By the apps that are configured: nobody reads the table for those that are in it."""

    title = "app"
    parameter_name = "app"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in settings.PUSH_APPS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PushTarget]) -> QuerySet[PushTarget]:
        return queryset.filter(app=self.value()) if self.value() else queryset


def _devices(**whose: Any) -> list[Any]:
    """Ids, asked for apart: with both in one condition PostgreSQL would read the whole of two tables."""
    return list(Device.objects.filter(**whose).order_by("-linked_at").values_list("pk", flat=True)[:_DEVICES])


def provider_of(target: PushTarget) -> str:
    app = settings.PUSH_APPS.get(target.app)
    return app.provider if app is not None else "not configured"


@admin.register(PushTarget)
class PushTargetAdmin(ReadOnlyAdmin):
    list_display = (
        "device_shown",
        "owner",
        "app_shown",
        "token_end",
        "state",
        "set_shown",
        "success",
        "failure",
    )
    list_filter = (AppFilter,)
    search_fields = ("device_id",)  # what is searched is in get_search_results: fields that have an index
    search_help_text = "The id of a device or of its user, or the user's whole phone number"
    empty_title = "No device is notified"
    empty_text = "Devices set where they are reached with PUT /devices/{id}/push."
    ordering = ("-device",)  # UUIDv7: the newest device first, by the primary key
    list_select_related = ("device",)
    actions_detail = ("test",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("device_link", "owner"),
                    ("app_shown", "token_end"),
                    ("encrypted", "preview_shown"),
                    ("quiet_hours", "badge_shown"),
                )
            },
        ),
        ("What became of it", {"fields": (("state", "set_shown"), ("success", "failure"), "conversations")}),
    )
    readonly_fields = (
        "device_link", "owner", "app_shown", "token_end", "encrypted", "preview_shown", "quiet_hours", "badge_shown", "state",
        "set_shown", "success", "failure", "conversations",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PushTarget], search_term: str
    ) -> tuple[QuerySet[PushTarget], bool]:
        if not search_term.strip():
            return queryset, False
        if (found := uuid_of(search_term)) is not None:
            return queryset.filter(pk__in=[found, *_devices(user=found)]), False
        number = number_of(search_term)
        return (queryset.filter(pk__in=_devices(user__phone=number)) if number else queryset.none()), False

    @display(description="Device", ordering="device")
    def device_shown(self, target: PushTarget) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', target.pk)

    @display(description="Device")
    def device_link(self, target: PushTarget) -> SafeString:
        return link("accounts_device_change", target.pk)

    @display(description="User")
    def owner(self, target: PushTarget) -> SafeString:
        return link("accounts_account_change", target.device.user_id)

    @display(description="App")
    def app_shown(self, target: PushTarget) -> SafeString:
        return format_html(
            '{} <span class="staff-small staff-nowrap">{}</span>', target.app, provider_of(target)
        )

    @display(description="Token")
    def token_end(self, target: PushTarget) -> SafeString:
        return format_html('<span class="staff-mono staff-nowrap">{}</span>', tokens.shortened(target.token))

    @display(description="Has keys", boolean=True)
    def encrypted(self, target: PushTarget) -> bool:
        return target.p256dh is not None

    @display(description="Wants what was written", boolean=True)
    def preview_shown(self, target: PushTarget) -> bool:
        return target.preview

    @display(description="Quiet hours")
    def quiet_hours(self, target: PushTarget) -> str:
        if target.quiet_from is None or target.quiet_until is None:
            return NONE
        start, until = (
            f"{minute // 60:02}:{minute % 60:02}" for minute in (target.quiet_from, target.quiet_until)
        )
        return f"{start} to {until}, {target.time_zone}"

    @display(description="Badge as last told")
    def badge_shown(self, target: PushTarget) -> int:
        return target.badge

    @display(description="State")
    def state(self, target: PushTarget) -> SafeString:
        if target.error_at is not None and target.error_at >= (target.success_at or 0):
            return state_label("failed")
        return state_label("good" if target.success_at else "not used yet")

    @display(description="Set")
    def set_shown(self, target: PushTarget) -> SafeString | str:
        return when(target.set_at)

    @display(description="Last success")
    def success(self, target: PushTarget) -> SafeString | str:
        return when(target.success_at)

    @display(description="Last error")
    def failure(self, target: PushTarget) -> SafeString | str:
        if target.error_at is None:
            return NONE
        return format_html("{} {}", when(target.error_at), target.error)

    @display(description="Conversations it was told of")
    def conversations(self, target: PushTarget) -> str:
        number = bounded(PushState.objects.filter(target=target))
        return f"more than {EXACT:,}" if number > EXACT else f"{number:,}"

    # actions

    def has_test_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, TEST)

    @action(description="Send a test…", permissions=["test"], url_path="test", icon="notifications_active")
    def test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = uuid_of(str(object_id))
        target = PushTarget.objects.filter(pk=found).first() if found else None
        if target is None:
            raise Http404
        return self.act_on_one(
            request, target, permission=TEST, form=ReasonForm, do=lambda target, form: self._test(request, target, form),
            title="Send a test notification?", text=_TEXT, button="Send it", done="It is on its way: look again in a moment.",
            nothing="Its app is not configured here.", danger=False,
        )  # fmt: skip

    def _test(self, request: HttpRequest, target: PushTarget, form: Form) -> bool:
        if target.app not in settings.PUSH_APPS:
            return False
        with transaction.atomic():
            audit.record(
                by=request.user,
                on=target,
                action="push.tested",
                message=f"Test sent: {form.cleaned_data['reason']}",
            )  # type: ignore[arg-type]
            transaction.on_commit(lambda: tasks.test_push_soon(target.pk))
        return True
