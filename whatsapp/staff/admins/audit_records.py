"""The chain of the audit log, read-only for everybody: that is what it is for."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.filters import ActionFilter
from whatsapp.staff.models import AuditRecord
from whatsapp.staff.times import NONE, when


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnlyAdmin):
    list_display = ("place", "written", "by", "action", "what", "about", "said")
    list_filter = (ActionFilter,)
    sortable_by = ("place",)
    ordering = ("-id",)
    search_fields = ("=object_id",)
    search_help_text = "The id of the object"
    empty_title = "Nothing was recorded"
    empty_text = "What staff do is written here, in the transaction in which they do it."
    fieldsets = (
        (None, {"fields": (("place", "written"), ("by", "action"), ("what", "about"), "said")}),
        ("Chain", {"fields": ("its_hash", "its_previous", "its_mac")}),
    )
    readonly_fields = (
        "place", "written", "by", "action", "what", "about", "said", "its_hash", "its_previous", "its_mac",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditRecord], search_term: str
    ) -> tuple[QuerySet[AuditRecord], bool]:
        return (queryset.filter(object_id=search_term.strip()) if search_term.strip() else queryset), False

    @display(description="Record", ordering="id")
    def place(self, row: AuditRecord) -> Any:
        return row.seq or NONE

    @display(description="When")
    def written(self, row: AuditRecord) -> str:
        return when(row.at)

    @display(description="On")
    def what(self, row: AuditRecord) -> str:
        return row.object_type

    @display(description="Object")
    def about(self, row: AuditRecord) -> SafeString:
        return format_html('<span class="staff-mono staff-half">{}</span>', row.object_id or "forgotten")

    @display(description="What was done")
    def said(self, row: AuditRecord) -> str:
        return row.message or ("forgotten" if not row.salt else NONE)

    @display(description="Hash")
    def its_hash(self, row: AuditRecord) -> SafeString:
        return _hex(row.hash)

    @display(description="Hash of the one before")
    def its_previous(self, row: AuditRecord) -> SafeString:
        return _hex(row.previous)

    @display(description="MAC of the content")
    def its_mac(self, row: AuditRecord) -> SafeString:
        return _hex(row.mac)


def _hex(value: Any) -> SafeString:
    return format_html('<span class="staff-mono staff-hash">{}</span>', bytes(value).hex() if value else NONE)
