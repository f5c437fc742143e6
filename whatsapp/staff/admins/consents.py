"""What people have agreed to. Nobody changes it here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts.models import Consent
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import uuid_of
from whatsapp.staff.links import link
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, when


@admin.register(Consent)
class ConsentAdmin(ReadOnlyAdmin):
    list_display = ("document_version", "user", "state", "given", "withdrawn")
    list_display_links = ("document_version",)
    search_fields = ("account",)
    search_help_text = "The id of a user"
    ordering = ("-id",)
    empty_title = "Nobody was asked"
    empty_text = "Terms are agreed to at registration once TERMS_VERSION is set, purposes of CONSENT_PURPOSES in the app."
    fieldsets = (
        (None, {"fields": (("document_version", "state"), "user", ("given", "device_shown"), ("withdrawn", "with_shown"))}),
    )  # fmt: skip
    readonly_fields = (
        "document_version",
        "state",
        "user",
        "given",
        "device_shown",
        "withdrawn",
        "with_shown",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Consent], search_term: str
    ) -> tuple[QuerySet[Consent], bool]:
        if not search_term.strip():
            return queryset, False
        found = uuid_of(search_term)
        return (queryset.filter(account=found) if found else queryset.none()), False

    @display(description="Document")
    def document_version(self, row: Consent) -> str:
        return f"{row.document} {row.version}"

    @display(description="User")
    def user(self, row: Consent) -> SafeString:
        return link("accounts_account_change", row.account_id)

    @display(description="State")
    def state(self, row: Consent) -> SafeString:
        return state_label("withdrawn" if row.withdrawn_at else "given")

    @display(description="Given", ordering="id")
    def given(self, row: Consent) -> str:
        return when(row.given_at)

    @display(description="With device")
    def device_shown(self, row: Consent) -> SafeString | str:
        return link("accounts_device_change", row.device) if row.device else NONE

    @display(description="Withdrawn")
    def withdrawn(self, row: Consent) -> str:
        return when(row.withdrawn_at) if row.withdrawn_at else NONE

    @display(description="With device")
    def with_shown(self, row: Consent) -> SafeString | str:
        return link("accounts_device_change", row.withdrawn_with) if row.withdrawn_with else NONE
