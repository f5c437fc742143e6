"""/conversations: the list, opening a 1:1, and reading a log."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import paging
from accounts.rest.schema import PROBLEMS
from chats import selectors
from chats.services.conversations import open_direct
from whatsapp.wire.errors import Code


class ConversationOutput(serializers.Serializer):
    conversationId = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["direct", "group"])
    peerId = serializers.UUIDField(allow_null=True, help_text="direct: the other user")
    head = serializers.IntegerField(help_text="last seq")
    unread = serializers.IntegerField()
    lastEvent = serializers.DictField(allow_null=True, help_text="a `message` or `event` as on the socket")
    delivered = serializers.IntegerField(help_text="one's own receipt")
    read = serializers.IntegerField(help_text="one's own receipt")


class ConversationsOutput(serializers.Serializer):
    items = ConversationOutput(many=True)
    next = serializers.CharField(required=False)


class DirectOutput(serializers.Serializer):
    conversationId = serializers.UUIDField()


class EventsOutput(serializers.Serializer):
    items = serializers.ListField(
        child=serializers.DictField(), help_text="`message` and `event` as on the socket"
    )
    through = serializers.IntegerField(help_text="nothing up to here is missing in `items`")
    head = serializers.IntegerField()
    next = serializers.CharField(
        required=False, help_text="for the same parameter that was given, else `after`"
    )


class ConversationsView(APIView):
    @extend_schema(
        operation_id="conversations",
        parameters=[
            OpenApiParameter("since", int),
            OpenApiParameter("after", str),
            OpenApiParameter("limit", int),
        ],
        responses={200: ConversationsOutput, **PROBLEMS},
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
    @extend_schema(operation_id="open_direct", request=None, responses={200: DirectOutput, **PROBLEMS})
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """The 1:1 conversation with a user, made if there is none."""
        return Response({"conversationId": open_direct(account=request.user, user_id=user_id)})


class EventsView(APIView):
    @extend_schema(
        operation_id="events",
        parameters=[
            OpenApiParameter("after", int),
            OpenApiParameter("before", int),
            OpenApiParameter("limit", int),
        ],
        responses={200: EventsOutput, **PROBLEMS},
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
