"""What staff may do about an uploaded file: look at it, have the work on it tried again, block its content. Each has a permission
of its own, asks for a reason, and is in the audit log."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.decorators import action

from media import tasks
from media.models import BlockedContent, Media, Rendition, State
from media.services import blocking, work
from media.storage import storage
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit, confirm
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.forms import ReasonForm

RETRY, BLOCK, LOOK = "media.retry_media", "media.block_media", "media.look_media"
#: Seconds for which an address of a file is good.
_GOOD_S: Final = 60
_RETRY_TEXT = (
    "Work that waits begins at once, with as many attempts as at first. What was refused for want of resources is worked on "
    "again while its bytes are kept, for about a day. Nothing changes for a file that somebody works on."
)
_BLOCK_TEXT = (
    "Every upload of the same bytes is refused from now on, also that of others: messages with it are refused, nobody may fetch "
    "it, and its files are deleted, which cannot be undone. The same picture in other bytes is other content."
)
UNBLOCK_TEXT = "The same bytes may be uploaded again. What was refused stays refused: its files are deleted."
_LOOK_TEXT = (
    "This is part of a private conversation. That you look at it is written down, with your reason. The addresses of the files "
    "are good for a minute."
)


def reason_of(form: Form) -> str:
    return str(form.cleaned_data["reason"])


def unblock(request: HttpRequest, content: BlockedContent, form: Form) -> bool:
    with transaction.atomic():
        if not blocking.unblock(sha256=content.pk):
            return False
        audit.record(
            by=request.user, on=content, action="content.unblocked", message=f"Unblocked: {reason_of(form)}"
        )  # type: ignore[arg-type]
    return True


class MediaActions:
    """Of :class:`whatsapp.staff.admins.media.MediaAdmin`."""

    actions: Any = ("retry_chosen", "block_chosen")
    actions_detail: Any = ("look", "retry", "block")

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm(RETRY))

    def has_block_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm(BLOCK))

    def has_look_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm(LOOK))

    @staticmethod
    def _one(object_id: Any) -> Media:
        found = uuid_of(str(object_id))
        media = Media.objects.filter(pk=found).first() if found else None
        if media is None:
            raise Http404
        return media

    @staticmethod
    def _retry(request: HttpRequest, media: Media, form: Form) -> bool:
        with transaction.atomic():
            if not work.retry(media.pk):
                return False
            audit.record(
                by=request.user, on=media, action="media.retried", message=f"Tried again: {reason_of(form)}"
            )  # type: ignore[arg-type]
            transaction.on_commit(lambda: tasks.process_soon(media.pk))
        return True

    @staticmethod
    def _block(request: HttpRequest, media: Media, form: Form) -> bool:
        """Only what has become ready: before, nobody has compared the hash with the bytes."""
        if not media.sha256 or media.ready_at is None:
            return False
        with transaction.atomic():
            staff: Any = request.user
            if not blocking.block(sha256=media.sha256, reason=reason_of(form), staff=staff):
                return False
            audit.record(
                by=staff,
                on=media,
                action="content.blocked",
                message=f"Blocked {media.sha256}: {reason_of(form)}",
            )
            transaction.on_commit(tasks.drop_blocked_soon)
        return True

    @admin.action(description="Try again…", permissions=["retry"])
    def retry_chosen(self: Any, request: HttpRequest, chosen: QuerySet[Media]) -> HttpResponse | None:
        answer: HttpResponse | None = self.act_on_many(
            request, chosen, permission=RETRY, form=ReasonForm,
            do=lambda media, form: self._retry(request, media, form), title="Try these again?", text=_RETRY_TEXT,
            button="Try again", done="Files that are worked on again", action="retry_chosen", danger=False,
        )  # fmt: skip
        return answer

    @admin.action(description="Block by hash…", permissions=["block"])
    def block_chosen(self: Any, request: HttpRequest, chosen: QuerySet[Media]) -> HttpResponse | None:
        answer: HttpResponse | None = self.act_on_many(
            request, chosen, permission=BLOCK, form=ReasonForm,
            do=lambda media, form: self._block(request, media, form), title="Block the content of these files?",
            text=_BLOCK_TEXT, button="Block", done="Contents that are blocked now", action="block_chosen",
        )  # fmt: skip
        return answer

    @action(description="Try again…", permissions=["retry"], url_path="retry", icon="replay")
    def retry(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        answer: HttpResponse = self.act_on_one(
            request, self._one(object_id), permission=RETRY, form=ReasonForm,
            do=lambda media, form: self._retry(request, media, form), title="Try again?", text=_RETRY_TEXT,
            button="Try again", done="It is worked on again.", nothing="There is nothing to try again.", danger=False,
        )  # fmt: skip
        return answer

    @action(description="Block by hash…", permissions=["block"], url_path="block", icon="block")
    def block(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        media = self._one(object_id)
        answer: HttpResponse = self.act_on_one(
            request, media, permission=BLOCK, form=ReasonForm,
            do=lambda media, form: self._block(request, media, form), title="Block this content?", text=_BLOCK_TEXT,
            button="Block", done="The content is blocked.",
            nothing="The content is blocked already, or is not known: it never became ready.",
            shown=[str(media), f"SHA-256 {media.sha256 or 'not known'}"],
        )  # fmt: skip
        return answer

    @action(description="Look at the file…", permissions=["look"], url_path="look", icon="visibility")
    def look(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks why, writes it down, and shows addresses of the files."""
        media = self._one(object_id)
        if not self.has_look_permission(request):
            raise PermissionDenied
        back = self.address("change", media.pk)
        files = [] if media.encrypted or media.state != State.READY else _files(media)
        if not files:
            messages.warning(
                request,
                "It is end-to-end encrypted: nobody here can read it."
                if media.encrypted
                else "There is no file to look at.",
            )
            return redirect(back)
        form = ReasonForm(request.POST or None)
        if request.method != "POST" or not form.is_valid():
            return confirm.page(
                request, site=self.admin_site, title="Look at this file?", text=_LOOK_TEXT, objects=[media], form=form,
                button="Look at it", back=back, danger=False,
            )  # fmt: skip
        audit.record(
            by=request.user, on=media, action="media.looked_at", message=f"Looked at: {reason_of(form)}"
        )  # type: ignore[arg-type]
        now = now_ms()
        context = {
            **self.admin_site.each_context(request),
            "title": "Files",
            "media": media,
            "back": back,
            "files": [
                {
                    "file": file,
                    "url": storage().signed_url(
                        file.key, expires_s=_GOOD_S, media_type=file.media_type, now_ms=now
                    ),
                }
                for file in files
            ],
        }
        return TemplateResponse(request, "staff/media_files.html", context)


def _files(media: Media) -> list[Rendition]:
    made = Rendition.objects.filter(media=media).exclude(name="waveform")
    return list(made.exclude(media_type="").order_by("name"))  # without: a worker writes it just now
