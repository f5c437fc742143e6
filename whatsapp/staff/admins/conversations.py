"""Conversations: kind, members, how far the log goes, how large it is. Contents are read by no page."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db import connection
from django.db.models import Count, F, IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.views import ChangeList

from accounts.models import Account
from delivery.models import Event, Member
from delivery.store import chosen
from whatsapp.staff import elsewhere
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.admins.search import number_of, uuid_of
from whatsapp.staff.links import link
from whatsapp.staff.models import Conversation
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import size, when

#: Sizes are measured over the newest events; a conversation may have millions.
SAMPLE: Final = 1_000
#: On Cassandra, where they are read for that.
SAMPLE_READ: Final = 200
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
    empty_title = "No conversation to show"
    empty_text = (
        "Nobody has written to anybody yet. With messages on Cassandra the list has those of today and yesterday alone:"
        " search finds all others."
    )
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

    # With the log on Cassandra the rows are made of its answers.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        if chosen.elsewhere():
            return elsewhere.ElsewhereChangeList
        return super().get_changelist(request, **kwargs)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        return () if chosen.elsewhere() else super().get_sortable_by(request)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        if not chosen.elsewhere():
            return super().get_object(request, object_id, from_field)
        found = uuid_of(str(object_id))
        return next(iter(elsewhere.conversations([str(found)])), None) if found else None

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        answer = super().changeform_view(request, *args, **kwargs)
        # Fields ask the store too, and only here somebody says that it is away.
        return answer.render() if chosen.elsewhere() and hasattr(answer, "render") else answer

    def ids_of(self, text: str) -> list[str]:
        """What a search means on Cassandra. Raises ``Unavailable``."""
        found = self._meant(text)
        if found is None:
            return []
        return elsewhere.of_member(str(found)) or [str(found)]

    @staticmethod
    def _meant(text: str) -> Any:
        """The id of a conversation or user; None: nobody."""
        found = uuid_of(text)
        if found is None:
            number = number_of(text)
            account = Account.objects.filter(phone=number).first() if number is not None else None
            found = account.pk if account is not None else None
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Conversation], search_term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        if not search_term.strip() or chosen.elsewhere():
            return queryset, False
        found = self._meant(search_term)
        if found is None:
            return queryset.none(), False
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
        if chosen.elsewhere():
            number, total, largest, kept = elsewhere.sizes(str(conversation.pk), SAMPLE_READ)
        else:
            with connection.cursor() as cursor:
                cursor.execute(_SIZES, [conversation.conversation, conversation.floor, SAMPLE])
                number, total, largest, kept = cursor.fetchone()
        if not number:
            return "no events"
        each = f", {size(total / kept)} a message, the largest {size(largest)}" if kept else ""
        return f"the newest {number:,} events hold {size(total)} of contents{each}"

    @display(description="Members now and before")
    def member_list(self, conversation: Conversation) -> SafeString | str:
        rows: list[Any]
        if chosen.elsewhere():
            found = elsewhere.members(str(conversation.pk))
            rows = sorted(found, key=lambda one: (one.left, one.joined, one.user))[:MEMBERS_SHOWN]
        else:
            rows = list(
                Member.objects.filter(conversation=conversation.conversation)
                .order_by(F("left_seq").asc(), "joined_seq", "member")
                .values_list("member", "joined_seq", "left_seq")[:MEMBERS_SHOWN]
            )
        if not rows:
            return "nobody"
        return format_html_join(
            "",
            "<div>{} from {}{}</div>",
            (
                (
                    link("accounts_account_change", member),
                    f"seq {joined:,}",
                    f", left at {left:,}" if left else "",
                )
                for member, joined, left in rows
            ),
        )
