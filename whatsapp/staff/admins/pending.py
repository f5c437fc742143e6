"""Changes of services that the log on Cassandra has not been told of, and those that failed too often. What they say is not
shown: a flag may hold a draft."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from delivery.store import pending
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.models import PendingChange
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, when

RETRY = "staff.retry_pendingchange"
_TEXT = (
    "Each is tried again within a second or two, as often as before. Something else about the same conversation or user may have "
    "been carried out meanwhile: a change that comes late can undo it."
)


@admin.register(PendingChange)
class PendingChangeAdmin(ReadOnlyAdmin):
    list_display = ("change_id", "what", "about", "state", "written", "tries", "failures", "why")
    list_filter = ("parked",)
    empty_title = "Nothing waits"
    empty_text = (
        "Every change that services have made has reached the log. With messages in PostgreSQL there is never one here: the log "
        "is changed in the same transaction."
    )
    ordering = ("id",)
    actions = ("try_again",)
    fieldsets = (
        (None, {"fields": (("change_id", "what"), ("about", "state"), ("written", "due"))}),
        ("Tries", {"fields": (("tries", "failures"), "why")}),
    )
    readonly_fields = (
        "change_id", "what", "about", "state", "written", "due", "tries", "failures", "why",
    )  # fmt: skip

    @display(description="Change", ordering="id")
    def change_id(self, change: PendingChange) -> int:
        return change.pk

    @display(description="What")
    def what(self, change: PendingChange) -> str:
        return pending.name_of(change.operation)

    @display(description="Conversation or user")
    def about(self, change: PendingChange) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', change.subject)

    @display(description="State")
    def state(self, change: PendingChange) -> SafeString:
        return state_label("parked" if change.parked else "failed" if change.failures else "waits")

    @display(description="Written", ordering="written_at")
    def written(self, change: PendingChange) -> str:
        return when(change.written_at or None)

    @display(description="Next try")
    def due(self, change: PendingChange) -> str:
        return NONE if change.parked else when(change.due_at)

    @display(description="Last failure")
    def why(self, change: PendingChange) -> str:
        return change.error or NONE

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, RETRY)

    @action(description="Try again…", permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[PendingChange]) -> HttpResponse | None:
        return self.act_on_many(
            request, queryset, permission=RETRY, form=ReasonForm,
            do=lambda change, form: self._again(request, change, form),
            title="Try these changes again?", text=_TEXT, button="Try again", done="Changes that will be tried again",
            action="try_again", danger=False,
        )  # fmt: skip

    def _again(self, request: HttpRequest, change: PendingChange, form: Form) -> bool:
        """Only what is parked."""
        with transaction.atomic():
            found = PendingChange.objects.filter(pk=change.pk, parked=True)
            if not found.update(parked=False, failures=0, tries=0, due_at=now_ms()):
                return False
            audit.record(
                by=request.user,
                on=change,
                action="change.retried",
                message=f"Tried again: {form.cleaned_data['reason']}",
            )  # type: ignore[arg-type]
        return True
