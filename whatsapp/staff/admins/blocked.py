"""Content that staff have blocked, by its hash."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from media.models import BlockedContent, Media
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.media import hash_of
from whatsapp.staff.admins.media_actions import BLOCK, UNBLOCK_TEXT, unblock
from whatsapp.staff.counting import EXACT, bounded
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.times import NONE, when


@admin.register(BlockedContent)
class BlockedContentAdmin(ReadOnlyAdmin):
    list_display = ("content_hash", "why", "by", "since")
    search_fields = ("sha256",)
    search_help_text = "A SHA-256"
    empty_title = "Nothing is blocked"
    empty_text = "Content is blocked from the page of a file that has it."
    ordering = ("-created_at",)
    list_select_related = ("staff",)
    actions = ("unblock_chosen",)
    actions_detail = ("unblock",)
    fieldsets = ((None, {"fields": ("content_hash", "why", ("by", "since"), "uploads")}),)
    readonly_fields = ("content_hash", "why", "by", "since", "uploads")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[BlockedContent], search_term: str
    ) -> tuple[QuerySet[BlockedContent], bool]:
        if not search_term.strip():
            return queryset, False
        digest = hash_of(search_term)
        return (queryset.filter(pk=digest) if digest else queryset.none()), False

    @display(description="SHA-256")
    def content_hash(self, content: BlockedContent) -> SafeString:
        return format_html('<span class="staff-mono staff-hash">{}</span>', content.pk)

    @display(description="Reason")
    def why(self, content: BlockedContent) -> str:
        return content.reason

    @display(description="By")
    def by(self, content: BlockedContent) -> str:
        return content.staff.get_username() if content.staff else NONE

    @display(description="Blocked", ordering="created_at")
    def since(self, content: BlockedContent) -> str:
        return when(content.created_at)

    @display(description="Uploads of it")
    def uploads(self, content: BlockedContent) -> SafeString:
        number = bounded(Media.objects.filter(sha256=content.pk))
        text = f"more than {EXACT:,}" if number > EXACT else number
        return link("media_media_changelist", text=text, query=content.pk)

    def has_block_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, BLOCK)

    @admin.action(description="Unblock…", permissions=["block"])
    def unblock_chosen(self, request: HttpRequest, chosen: QuerySet[BlockedContent]) -> HttpResponse | None:
        return self.act_on_many(
            request, chosen, permission=BLOCK, form=ReasonForm, do=lambda content, form: unblock(request, content, form),
            title="Unblock these contents?", text=UNBLOCK_TEXT, button="Unblock", done="Unblocked",
            action="unblock_chosen", danger=False,
        )  # fmt: skip

    @action(description="Unblock…", permissions=["block"], url_path="unblock", icon="lock_open")
    def unblock(self, request: HttpRequest, object_id: str) -> HttpResponse:
        content = BlockedContent.objects.filter(pk=object_id).first()
        if content is None:
            raise Http404
        return self.act_on_one(
            request, content, permission=BLOCK, form=ReasonForm, do=lambda found, form: unblock(request, found, form),
            title="Unblock this content?", text=UNBLOCK_TEXT, button="Unblock", done="The content is unblocked.",
            nothing="It is not blocked any more.", danger=False, back=self.address("changelist"),
        )  # fmt: skip
