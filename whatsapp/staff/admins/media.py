"""Uploaded files: what became of each, and what staff may do about it. A picture is shown small and blurred, a file to who may
look at it and says why; what is end-to-end encrypted is shown to nobody. Messages that carry a file are counted, never named."""

from __future__ import annotations

import re
from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from accounts.limits import limit_for
from media.models import BlockedContent, Media, Reference, Rendition, State, Upload
from media.services import quota
from whatsapp.infra.clock import now_ms
from whatsapp.staff.admins import media_pictures
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.media_actions import MediaActions
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.counting import EXACT, bounded
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, size, when

#: Uploads that are found by the content of something made of them.
_FOUND: Final = 1_000


def hash_of(text: str) -> str | None:
    """A SHA-256 in hexadecimal, in lower case."""
    text = text.strip().lower()
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else None


class RenditionInline(TabularInline):
    """The files of an upload: a handful."""

    model = Rendition
    fields = ("name", "type_shown", "size_shown", "picture", "sha256_shown")
    readonly_fields = fields
    ordering = ("name",)
    hide_title = True
    extra = 0
    can_delete = False
    verbose_name_plural = "Files"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("media.view_media"))  # type: ignore[union-attr]

    @display(description="Type")
    def type_shown(self, file: Rendition) -> str:
        return file.media_type or NONE

    @display(description="Size")
    def size_shown(self, file: Rendition) -> str:
        return size(file.size)

    @display(description="Picture, length")
    def picture(self, file: Rendition) -> str:
        parts = [
            f"{file.width} × {file.height}" if file.width else "",
            f"{file.duration_ms / 1000:.1f} s" if file.duration_ms else "",
        ]
        return ", ".join(filter(None, parts)) or NONE

    @display(description="SHA-256")
    def sha256_shown(self, file: Rendition) -> SafeString | str:
        return (
            format_html('<span class="staff-mono staff-hash">{}</span>', file.sha256)
            if file.sha256
            else "not looked into yet"
        )


@admin.register(Media)
class MediaAdmin(MediaActions, ReadOnlyAdmin):
    list_display = ("thumbnail", "media_id", "owner_link", "what", "size_shown", "state_shown", "created")
    list_filter = ("state", "kind", "encrypted")
    search_fields = ("id", "sha256")  # what is searched is in get_search_results: fields that have an index
    search_help_text = "The id of a file or of its uploader, or a SHA-256"
    empty_title = "Nothing was uploaded"
    empty_text = (
        "A file is here from the beginning of its upload until a day after the last message that carries it."
    )
    ordering = ("-id",)  # UUIDv7: the newest first, by the primary key
    list_select_related = ()
    inlines = (RenditionInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("media_id", "owner_link"),
                    ("what", "type_shown"),
                    "size_shown",
                    "content_hash",
                    "large_thumbnail",
                )
            },
        ),
        (
            "Work",
            {
                "fields": (
                    ("state_shown", "attempts_shown"),
                    ("created", "stored_shown"),
                    ("ready_shown", "next_try"),
                )
            },
        ),
        (
            "Use",
            {"fields": ("carried", ("counted_hour", "counted_day"))},
        ),
    )
    readonly_fields = (
        "media_id", "owner_link", "what", "type_shown", "size_shown", "content_hash", "large_thumbnail", "state_shown",
        "attempts_shown", "created", "stored_shown", "ready_shown", "next_try", "carried", "counted_hour", "counted_day",
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        return [media_pictures.address(self), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Media]:
        thumbs = Rendition.objects.filter(media=OuterRef("pk"), name="thumb")
        queryset: QuerySet[Media] = super().get_queryset(request)
        return queryset.annotate(has_thumb=Exists(thumbs))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Media], search_term: str
    ) -> tuple[QuerySet[Media], bool]:
        if not search_term.strip():
            return queryset, False
        if (found := uuid_of(search_term)) is not None:
            return queryset.filter(Q(pk=found) | Q(owner_id=found)), False
        if (digest := hash_of(search_term)) is None:
            return queryset.none(), False
        # Who holds a file that was made here has its hash, not that of what was uploaded.
        made = Rendition.objects.filter(sha256=digest).values_list("media_id", flat=True)[:_FOUND]
        return queryset.filter(Q(sha256=digest) | Q(pk__in=list(made))), False

    @display(description="Picture")
    def thumbnail(self, media: Any) -> SafeString | str:
        return media_pictures.small(media) if media.has_thumb and not media.encrypted else NONE

    @display(description="Picture")
    def large_thumbnail(self, media: Any) -> SafeString | str:
        if media.encrypted:
            return "End-to-end encrypted: nobody here can see it."
        return media_pictures.small(media, large=True) if media.has_thumb else "There is none."

    @display(description="File", ordering="id")
    def media_id(self, media: Media) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', media.pk)

    @display(description="Uploader")
    def owner_link(self, media: Media) -> SafeString:
        return link("accounts_account_change", media.owner_id)

    @display(description="Kind")
    def what(self, media: Media) -> SafeString | str:
        kind = media.kind or NONE
        return format_html("{}, encrypted", kind) if media.encrypted else kind

    @display(description="Type")
    def type_shown(self, media: Media) -> str:
        return media.media_type or NONE

    @display(description="Size")
    def size_shown(self, media: Media) -> SafeString:
        return format_html('<span class="staff-nowrap">{}</span>', size(media.size))

    @display(description="SHA-256")
    def content_hash(self, media: Media) -> SafeString | str:
        if not media.sha256:
            return "not known yet"
        blocked = BlockedContent.objects.filter(pk=media.sha256).exists()
        note = link("media_blockedcontent_change", media.sha256, "blocked") if blocked else ""
        return format_html('<span class="staff-mono staff-hash">{}</span> {}', media.sha256, note)

    @display(description="State")
    def state_shown(self, media: Media) -> SafeString:
        more = media.reason or (f"{media.percent} %" if media.state == State.PROCESSING else "")
        label = state_label(media.state)
        return (
            format_html('{} <span class="staff-small staff-nowrap">{}</span>', label, more) if more else label
        )

    @display(description="Uploaded", ordering="id")
    def created(self, media: Media) -> str:
        return when(media.created_at)

    @display(description="All bytes here")
    def stored_shown(self, media: Media) -> str:
        if media.state != State.UPLOADING:
            return when(media.stored_at)
        upload = Upload.objects.filter(pk=media.pk).first()
        return f"{size(upload.offset)} of {size(upload.length)} so far" if upload else NONE

    @display(description="Ready")
    def ready_shown(self, media: Media) -> str:
        return when(media.ready_at)

    @display(description="Work was begun")
    def attempts_shown(self, media: Media) -> str:
        return "once" if media.attempts == 1 else f"{media.attempts} times"

    @display(description="Next try")
    def next_try(self, media: Media) -> str | SafeString:
        if media.state not in (State.STORED, State.PROCESSING):
            return NONE
        if media.worker is not None and media.leased_until > now_ms():
            return "a worker has it"
        return when(media.leased_until) if media.leased_until > now_ms() else "soon"

    @display(description="Messages that carry it")
    def carried(self, media: Media) -> str:
        number = bounded(Reference.objects.filter(media=media))
        return f"more than {EXACT:,}" if number > EXACT else f"{number:,}"

    @display(description="Counts now of the uploader's hour")
    def counted_hour(self, media: Media) -> str:
        hour, _ = quota.counted(media.owner, now_ms())
        return f"{size(hour)} of {size(limit_for(media.owner, 'media_bytes_per_hour'))}"

    @display(description="Of its day, in large files")
    def counted_day(self, media: Media) -> str:
        _, day = quota.counted(media.owner, now_ms())
        return f"{size(day)} of {size(limit_for(media.owner, 'media_large_bytes_per_day'))}"
