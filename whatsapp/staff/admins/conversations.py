"""Conversations: kind, members, how far the log goes, how large it is. Contents are read by no page."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.db import connection
from django.db.models import Count, F, IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts.models import Account
from delivery.models import Event, Member
from delivery.store import chosen
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import number_of, uuid_of
from whatsapp.staff.models import Conversation
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import size, when

#: Sizes are measured over the newest events; a conversation may have millions.
SAMPLE: Final = 1_000
MEMBERS_SHOWN: Final = 50

# octet_length of a stored value needs its size only, not the value (it is not unpacked). Events of a group have no content.
_SIZES: Final = """
SELECT count(*), coalesce(sum(octet_length(content)), 0), coalesce(max(octet_length(content)), 0),
    count(*) FILTER (WHERE octet_length(content) > 0)
FROM (SELECT content FROM delivery_event WHERE conversation = %s AND seq > %s ORDER BY seq DESC LIMIT %s) newest
"""


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = (
        "conversation_id",
        "shown_kind",
        "shown_members",
        "shown_head",
        "kept",
        "last_activity",
        "created",
    )
    search_fields = ("conversation",)
    search_help_text = "The id of a conversation or of a member, or a member's whole phone number"
    ordering = ("-conversation",)  # the id begins with the time it was made
    fieldsets = (
        (None, {"fields": (("conversation_id", "shown_kind"), ("created", "last_activity"))}),
        ("Log", {"fields": (("shown_head", "shown_messages"), ("expired", "kept"), "sizes")}),
        ("Members", {"fields": ("member_list",)}),
    )
    readonly_fields = (
        "conversation_id", "shown_kind", "created", "last_activity", "shown_head", "shown_messages", "expired", "kept", "sizes",
        "member_list",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        members = (
            Member.objects.filter(conversation=OuterRef("conversation"), left_seq=0)
            .order_by()
            .values("conversation")
            .annotate(number=Count("member"))
            .values("number")
        )
        last = Event.objects.filter(conversation=OuterRef("conversation"), seq=OuterRef("head")).values("at")[
            :1
        ]
        queryset: QuerySet[Conversation] = super().get_queryset(request)
        return queryset.annotate(
            member_count=Subquery(members, output_field=IntegerField()), last_at=Subquery(last)
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if chosen.elsewhere():
            messages.warning(
                request,
                "Messages are kept in Cassandra: this page shows only what PostgreSQL has of them. "
                "manage.py trace follows a single message there.",
            )
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Conversation], search_term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        if not search_term.strip():
            return queryset, False
        found = uuid_of(search_term)
        if found is None:
            number = number_of(search_term)
            account = Account.objects.filter(phone=number).first() if number is not None else None
            if account is None:
                return queryset.none(), False
            found = account.pk
        of_member = Member.objects.filter(member=found, left_seq=0).values("conversation")
        if of_member.exists():
            return queryset.filter(conversation__in=of_member), False
        return queryset.filter(conversation=found), False

    @display(description="Conversation", ordering="conversation")
    def conversation_id(self, conversation: Conversation) -> SafeString:
        return format_html('<span class="staff-mono">{}</span>', conversation.conversation)

    @display(description="Kind")
    def shown_kind(self, conversation: Conversation) -> SafeString:
        return state_label(conversation.kind)

    @display(description="Members")
    def shown_members(self, conversation: Any) -> int:
        return conversation.member_count or 0

    @display(description="Head seq")
    def shown_head(self, conversation: Conversation) -> str:
        return f"{conversation.head:,}"

    @display(description="Messages")
    def shown_messages(self, conversation: Conversation) -> str:
        return f"{conversation.ordinal:,} sent, {conversation.ordinal - conversation.floor_ordinal:,} kept"

    @display(description="Expired up to")
    def expired(self, conversation: Conversation) -> str:
        return f"{conversation.floor:,}"

    @display(description="Events kept")
    def kept(self, conversation: Conversation) -> str:
        return f"{conversation.head - conversation.floor:,}"

    @display(description="Last activity")
    def last_activity(self, conversation: Any) -> str:
        return when(conversation.last_at)

    @display(description="Created", ordering="conversation")
    def created(self, conversation: Conversation) -> str:
        return when(conversation.created_at)

    @display(description="Sizes")
    def sizes(self, conversation: Conversation) -> str:
        with connection.cursor() as cursor:
            cursor.execute(_SIZES, [conversation.conversation, conversation.floor, SAMPLE])
            number, total, largest, kept = cursor.fetchone()
        if not number:
            return "no events"
        each = f", {size(total / kept)} a message, the largest {size(largest)}" if kept else ""
        return f"the newest {number:,} events hold {size(total)} of contents{each}"

    @display(description="Members now and before")
    def member_list(self, conversation: Conversation) -> SafeString | str:
        rows = list(
            Member.objects.filter(conversation=conversation.conversation)
            .order_by(F("left_seq").asc(), "joined_seq", "member")
            .values_list("member", "joined_seq", "left_seq")[:MEMBERS_SHOWN]
        )
        if not rows:
            return "nobody"
        return format_html_join(
            "",
            '<div><a class="staff-link staff-mono" href="{}">{}</a> from {}{}</div>',
            (
                (
                    reverse("admin:accounts_account_change", args=[member]),
                    member,
                    f"seq {joined:,}",
                    f", left at {left:,}" if left else "",
                )
                for member, joined, left in rows
            ),
        )
