"""What authorities have asked for: who of the staff asked, who approved, and what became of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.errors import Refused
from accounts.models import LawfulRequest
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, confirm, lawful
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.links import link
from whatsapp.staff.record_forms import LawfulForm
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, shown, size, when

_ASK = (
    "Who registered when, on which devices, and who wrote to whom when. Never contents, keys or push tokens."
    " A second person approves it; then it is made, fetched once, and gone after three days."
)
_FETCH = (
    "The file is handed out once, to you, within ten minutes. Then it is deleted here."
    " Your browser saves it, and this page stays."
)


@admin.register(LawfulRequest)
class LawfulRequestAdmin(ReadOnlyAdmin):
    list_display = (
        "reference",
        "authority",
        "state_shown",
        "users_count",
        "asked",
        "asked_by",
        "approved_by",
    )
    list_display_links = ("reference",)
    list_filter = ("state",)
    search_fields = ("reference",)
    search_help_text = "A whole reference, or the id of a request"
    ordering = ("-id",)
    empty_title = "No authority has asked"
    empty_text = "Exports of metadata for courts and authorities are asked for here, by two."
    actions_list = ("ask",)
    actions_detail = ("fetch",)
    fieldsets = (
        (
            None,
            {"fields": (("reference", "state_shown"), "authority", "legal_basis", "users_shown", ("from_shown", "until_shown"))},
        ),
        ("By whom", {"fields": (("asked", "asked_by"), ("approved", "approved_by"), ("fetched", "fetched_by"))}),
        ("File", {"fields": (("size_shown", "expires"), "hash_shown")}),
    )  # fmt: skip
    readonly_fields = (
        "reference", "state_shown", "authority", "legal_basis", "users_shown", "from_shown", "until_shown", "asked", "asked_by",
        "approved", "approved_by", "fetched", "fetched_by", "size_shown", "expires", "hash_shown",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LawfulRequest], search_term: str
    ) -> tuple[QuerySet[LawfulRequest], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        found = uuid_of(wanted)
        return (queryset.filter(pk=found) if found else queryset.filter(reference=wanted)), False

    @display(description="State")
    def state_shown(self, row: LawfulRequest) -> SafeString:
        over = row.state == LawfulRequest.State.READY and (row.expires_at or 0) <= now_ms()
        return state_label("expired" if over else row.state)

    @display(description="Users")
    def users_count(self, row: LawfulRequest) -> int:
        return len(row.users)

    @display(description="Users")
    def users_shown(self, row: LawfulRequest) -> SafeString | str:
        users = ((link("accounts_account_change", user),) for user in row.users)
        return format_html_join(", ", "{}", users) or "erased"

    @display(description="Since (UTC)")
    def from_shown(self, row: LawfulRequest) -> str:
        return shown(row.since)

    @display(description="Until (UTC)")
    def until_shown(self, row: LawfulRequest) -> str:
        return shown(row.until)

    @display(description="Asked", ordering="id")
    def asked(self, row: LawfulRequest) -> str:
        return when(row.asked_at)

    @display(description="Approved")
    def approved(self, row: LawfulRequest) -> SafeString | str:
        waits = lawful.waiting(row) if row.state == LawfulRequest.State.ASKED else None
        if waits is not None:
            return link("approval", waits.pk, "waits for a second person")
        return when(row.approved_at) if row.approved_at else NONE

    @display(description="Fetched")
    def fetched(self, row: LawfulRequest) -> str:
        return when(row.fetched_at) if row.fetched_at else NONE

    @display(description="Size")
    def size_shown(self, row: LawfulRequest) -> str:
        return size(row.size) if row.size else NONE

    @display(description="SHA-256")
    def hash_shown(self, row: LawfulRequest) -> SafeString | str:
        return (
            format_html('<span class="staff-mono staff-hash">{}</span>', row.sha256) if row.sha256 else NONE
        )

    @display(description="Gone")
    def expires(self, row: LawfulRequest) -> str:
        return when(row.expires_at) if row.expires_at else NONE

    # actions

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only while there is a file."""
        shown = super().get_actions_detail(request, object_id)
        if self._one(object_id).state == LawfulRequest.State.READY:
            return shown
        return [one for one in shown if one.action_name != "accounts_lawfulrequest_fetch"]

    def has_ask_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, lawful.ASK)

    @action(description="Ask for metadata…", permissions=["ask"], url_path="ask", icon="policy")
    def ask(self, request: HttpRequest) -> HttpResponse:
        if not self.may(request, lawful.ASK):
            raise PermissionDenied
        by: Any = request.user
        form = LawfulForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            since, until = form.times()
            given = {
                name: form.cleaned_data[name] for name in ("authority", "reference", "legal_basis", "users")
            }
            try:
                made = lawful.ask(by, form.cleaned_data["reason"], since=since, until=until, **given)
            except (Refused, approvals.Refusal) as refusal:
                form.add_error((getattr(refusal, "details", None) or {}).get("field"), str(refusal))
            else:
                messages.success(request, "It waits for a second person.")
                return redirect(self.address("change", made.pk))
        return confirm.page(
            request, site=self.admin_site, title="Ask for metadata for an authority", text=_ASK, objects=[], form=form,
            button="Ask", back=self.address("changelist"), danger=False,
        )  # fmt: skip

    def _one(self, object_id: Any) -> LawfulRequest:
        found = uuid_of(str(object_id))
        row = LawfulRequest.objects.filter(pk=found).first() if found else None
        if row is None:
            raise Http404
        return row

    def _let_fetch(self, request: HttpRequest, row: LawfulRequest, form: Form) -> bool:
        if row.state != LawfulRequest.State.READY or (row.expires_at or 0) <= now_ms():
            return False
        by: Any = request.user
        message = f"A link was made: {form.cleaned_data['reason']}"
        audit.record(by=by, on=row, action="lawful.link", message=message)
        return True

    @action(description="Fetch…", permissions=["ask"], url_path="fetch", icon="download")
    def fetch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row, by = self._one(object_id), request.user
        back = lawful.link(row, by) if row.state == LawfulRequest.State.READY else ""  # type: ignore[arg-type]
        return self.act_on_one(
            request, row, permission=lawful.ASK, form=ReasonForm, do=lambda row, form: self._let_fetch(request, row, form),
            title="Fetch the file?", text=_FETCH, button="Fetch", done="It is handed out.", nothing="There is no file.",
            back=back if request.method == "POST" else "", danger=False,
        )  # fmt: skip
