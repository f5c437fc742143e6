"""/conversations: the list, opening a 1:1, and reading a log."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import paging, samples
from accounts.rest.schema import cursor, limit, number, operation
from chats import selectors
from chats.services.conversations import open_direct
from groups.models import Role
from whatsapp.wire.errors import Code

_SHOWN = {
    "oneOf": [{"$ref": "#/components/schemas/Message"}, {"$ref": "#/components/schemas/Event"}],
    "discriminator": {
        "propertyName": "type",
        "mapping": {"message": "#/components/schemas/Message", "event": "#/components/schemas/Event"},
    },
}


@extend_schema_field(_SHOWN)
class ItemField(serializers.DictField):
    """A row of a log as the socket shows it."""


@extend_schema_field({"oneOf": [*_SHOWN["oneOf"], {"type": "null"}]})
class LastItemField(serializers.DictField):
    """The last row of a log, if there is one."""


class ConversationOutput(serializers.Serializer):
    conversationId = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["direct", "group"])
    peerId = serializers.UUIDField(allow_null=True, help_text="direct: the other user")
    groupId = serializers.UUIDField(allow_null=True, help_text="group: the same as conversationId")
    name = serializers.CharField(
        allow_null=True, help_text="group: its name, or the one when the caller left"
    )
    role = serializers.ChoiceField(
        Role.values, allow_null=True, help_text="group: the caller's own; null for who left"
    )
    memberCount = serializers.IntegerField(allow_null=True, help_text="group: null for who left")
    head = serializers.IntegerField(help_text="last seq")
    unread = serializers.IntegerField()
    lastEvent = LastItemField(help_text="as on the socket")
    delivered = serializers.IntegerField(help_text="one's own receipt")
    read = serializers.IntegerField(help_text="one's own receipt")


class ConversationsOutput(serializers.Serializer):
    items = ConversationOutput(many=True)
    next = serializers.CharField(required=False)


class DirectOutput(serializers.Serializer):
    conversationId = serializers.UUIDField()


class EventsOutput(serializers.Serializer):
    items = serializers.ListField(child=ItemField(), help_text="`message` and `event` as on the socket")
    through = serializers.IntegerField(help_text="nothing up to here is missing in `items`")
    head = serializers.IntegerField()
    next = serializers.CharField(
        required=False, help_text="for the same parameter that was given, else `after`"
    )


class MessageReceiptOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["sent", "delivered", "read"])


class MessageReceiptsOutput(serializers.Serializer):
    items = MessageReceiptOutput(many=True)
    next = serializers.CharField(required=False)


class ConversationsView(APIView):
    @operation(
        "conversations",
        tag="conversations",
        summary="The caller's conversations",
        parameters=[
            number(
                "since", "Only those whose last event is younger, ms since the epoch.", example=samples.AT
            ),
            cursor(samples.CONVERSATION),
            limit(100, 500),
        ],
        answer=ConversationsOutput,
        example={
            "items": [
                {
                    "conversationId": samples.CONVERSATION,
                    "kind": "direct",
                    "peerId": samples.BOB,
                    "groupId": None,
                    "name": None,
                    "role": None,
                    "memberCount": None,
                    "head": 7,
                    "unread": 2,
                    "lastEvent": samples.MESSAGE_SHOWN,
                    "delivered": 7,
                    "read": 5,
                }
            ]
        },
    )
    def get(self, request: Request) -> Response:
        """The caller's conversations by id. A page may hold fewer than `limit`; it is the last one without `next`."""
        items, following = selectors.conversations(
            user_id=str(request.user.pk),
            since=paging.whole_number(request, "since", 0),
            after=paging.id_cursor(request),
            limit=paging.page_limit(request),
        )
        return Response({"items": items, "next": following} if following else {"items": items})


class DirectView(APIView):
    @operation(
        "open_direct",
        tag="conversations",
        summary="The 1:1 conversation with a user",
        answer=DirectOutput,
        example={"conversationId": samples.CONVERSATION},
    )
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """The 1:1 conversation with a user, made if there is none."""
        return Response({"conversationId": open_direct(account=request.user, user_id=user_id)})


class EventsView(APIView):
    @operation(
        "events",
        tag="conversations",
        summary="History",
        parameters=[
            number("after", "Cursor: events behind this seq.", example=0),
            number("before", "Cursor: the last events below this seq. Not together with `after`.", example=0),
            limit(selectors.MAX_EVENTS, selectors.MAX_EVENTS),
        ],
        answer=EventsOutput,
        example={"items": [samples.MESSAGE_SHOWN], "through": 7, "head": 7},
    )
    def get(self, request: Request, conversation_id: uuid.UUID) -> Response:
        """Events in order of seq: from behind `after`, or the last ones below `before`. Reading moves no receipt."""
        after = paging.whole_number(request, "after", 0)
        before = paging.whole_number(request, "before", 0)
        if after and before:
            raise Refused(
                Code.BAD_REQUEST, "after and before exclude each other.", details={"field": "before"}
            )
        limit = paging.page_limit(request, default=selectors.MAX_EVENTS, maximum=selectors.MAX_EVENTS)
        page = selectors.events(
            user_id=str(request.user.pk),
            conversation_id=str(conversation_id),
            after=after,
            before=before,
            limit=limit,
        )
        body: dict[str, Any] = {
            "items": [selectors.event_json(event) for event in page.events],
            "through": page.through,
            "head": page.head,
        }
        if before:
            if len(page.events) == limit and page.events[0].seq > page.floor + 1:
                body["next"] = str(page.events[0].seq)
        elif page.through < page.head:
            body["next"] = str(page.through)
        return Response(body)


class MessageReceiptsView(APIView):
    @operation(
        "receipts",
        tag="conversations",
        summary="Who has a message",
        parameters=[cursor(samples.BOB), limit(100, 500)],
        answer=MessageReceiptsOutput,
        example={"items": [{"userId": samples.BOB, "status": "read"}]},
        refuses=[Code.FORBIDDEN],
    )
    def get(self, request: Request, conversation_id: uuid.UUID, message_id: uuid.UUID) -> Response:
        """How far each other user is with a message of the caller, by user id."""
        limit = paging.page_limit(request)
        items = selectors.message_receipts(
            user_id=str(request.user.pk),
            conversation_id=str(conversation_id),
            message_id=str(message_id),
            after=paging.id_cursor(request),
            limit=limit + 1,
        )
        return Response(paging.page(items, limit, "userId"))
