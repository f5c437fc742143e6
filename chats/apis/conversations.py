"""/conversations: the list, opening a 1:1, and reading a log."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django.db import transaction
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import paging, samples
from accounts.rest.fields import BytesField, FlagField, WholeNumberField
from accounts.rest.pictures import PictureOutput
from accounts.rest.schema import cursor, limit, number, operation
from chats import selectors
from chats.services.conversations import accept_request, open_direct
from chats.services.flags import Changes, set_flags
from chats.services.timers import set_timer
from groups.models import Role
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code
from whatsapp.wire.frames import MAX_LIFETIME

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


@extend_schema_field({"type": "boolean", "enum": [True]})
class AcceptedField(FlagField):
    """Only true: who has been accepted stays so, and may be blocked."""

    def to_internal_value(self, data: Any) -> bool:
        if super().to_internal_value(data) is not True:
            raise serializers.ValidationError("May only be true.")
        return True


class FlagsInput(serializers.Serializer):
    """What is not given stays."""

    mutedUntil = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=paging.MAX_INT,
        help_text="ms since the epoch, null for not muted; a far one is for ever",
    )
    pinned = FlagField(required=False)
    archived = FlagField(required=False)
    accepted = AcceptedField(
        required=False, help_text="true: accept the other user of a 1:1, whom the caller did not know"
    )
    draft = BytesField(
        LIMITS.draft_bytes,
        required=False,
        allow_null=True,
        help_text="encrypted by the client; null when there is none",
    )


class ConversationChanges(FlagsInput):
    timer = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_LIFETIME,
        help_text="seconds that messages are kept from now on, for all members; null: no longer",
    )


class FlagsOutput(serializers.Serializer):
    conversationId = serializers.UUIDField()
    mutedUntil = serializers.IntegerField(allow_null=True)
    pinned = serializers.BooleanField()
    archived = serializers.BooleanField()
    draft = serializers.CharField(allow_null=True, help_text="base64")
    flagsVersion = serializers.IntegerField(
        help_text="one more with every change; what has a lower one than the device knows is old"
    )


class ChangedOutput(FlagsOutput):
    timer = serializers.IntegerField(
        allow_null=True, required=False, help_text="seconds that messages are kept, if it was given"
    )


class ConversationOutput(FlagsOutput):
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
    icon = PictureOutput(allow_null=True, help_text="group: for members, null for who left")
    head = serializers.IntegerField(help_text="last seq")
    unread = serializers.IntegerField(
        help_text="messages of others behind what the caller has read on any device, or sent"
    )
    mentioned = serializers.IntegerField(help_text="unread messages that mention the caller")
    timer = serializers.IntegerField(
        allow_null=True, help_text="seconds that messages are kept; null: none, or the caller has left"
    )
    lastEvent = LastItemField(help_text="as on the socket")
    request = serializers.BooleanField(
        help_text="direct: the other user is a stranger who wrote first, and the caller has neither answered nor added nor "
        "accepted them"
    )
    delivered = serializers.IntegerField(help_text="one's own receipt")
    read = serializers.IntegerField(help_text="one's own receipt")


class ConversationsOutput(serializers.Serializer):
    items = ConversationOutput(many=True)
    next = serializers.CharField(required=False)


class BadgeOutput(serializers.Serializer):
    badge = serializers.IntegerField()


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


_FLAGS_EXAMPLE: Final = {
    "conversationId": samples.CONVERSATION,
    "mutedUntil": None,
    "pinned": True,
    "archived": False,
    "draft": "c2VjcmV0",
    "flagsVersion": 3,
}


class ConversationsView(APIView):
    @operation(
        "conversations",
        tag="conversations",
        summary="The caller's conversations",
        parameters=[
            number(
                "since",
                "Only those in which something is younger, ms since the epoch: the last event, what is set for it, or how far "
                "the caller has read on any device. One that changed just before may come again.",
                example=samples.AT,
            ),
            cursor(samples.CONVERSATION),
            limit(100, 500),
        ],
        answer=ConversationsOutput,
        example={
            "items": [
                {
                    **_FLAGS_EXAMPLE,
                    "kind": "direct",
                    "peerId": samples.BOB,
                    "groupId": None,
                    "name": None,
                    "role": None,
                    "memberCount": None,
                    "icon": None,
                    "head": 7,
                    "unread": 2,
                    "mentioned": 0,
                    "timer": None,
                    "lastEvent": samples.MESSAGE_SHOWN,
                    "request": False,
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
            device_id=str(request.auth.pk),
            since=paging.whole_number(request, "since", 0),
            after=paging.id_cursor(request),
            limit=paging.page_limit(request),
        )
        return Response({"items": items, "next": following} if following else {"items": items})


class ConversationView(APIView):
    @operation(
        "set_conversation_flags",
        tag="conversations",
        summary="Mute, pin, archive, keep a draft; let messages vanish; accept a stranger",
        request=ConversationChanges,
        sent={
            "pin": {"pinned": True},
            "mute for ever": {"mutedUntil": paging.MAX_INT},
            "messages vanish after a day": {"timer": 86_400},
            "accept a stranger": {"accepted": True},
        },
        answer=ChangedOutput,
        example=_FLAGS_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def patch(self, request: Request, conversation_id: uuid.UUID) -> Response:
        """`timer` is for all members: in a direct conversation either user sets it, in a group whom `whoEdits` names. They are
        told by an event of the kind `timer`; every message behind that event is kept for so many seconds, or for fewer if it
        says so. At most 60 changes an hour.

        The rest is for the caller alone, on all devices; what is not given stays, and the answer is all that is in force. The
        other devices hear it by the notice `flags` with the same fields, or see it in `GET /conversations?since=`. An archived
        conversation stays archived when something new comes. At most 5 are pinned; a draft has at most 15 KiB, all of them
        64 KiB.

        `accepted: true` answers a message request for good: from then on the stranger is told receipts and may see presence.
        An answer in the conversation and adding the stranger as a contact do the same; the other devices are told
        `{conversationId, request: false}`."""
        data = ConversationChanges(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        changes: Changes = {}
        if "mutedUntil" in given:
            changes["muted_until"] = given["mutedUntil"] or 0
        if "pinned" in given:
            changes["pinned"] = given["pinned"]
        if "archived" in given:
            changes["archived"] = given["archived"]
        if "draft" in given:
            changes["draft"] = given["draft"] or None
        # All or nothing; the timer last, because everybody's messages wait for its end.
        with transaction.atomic():
            flags = set_flags(
                account=request.user,
                device_id=str(request.auth.pk),
                conversation_id=conversation_id,
                changes=changes,
            )
            answer = selectors.flags_json(str(conversation_id), flags)
            if given.get("accepted"):
                accept_request(
                    account=request.user, device_id=str(request.auth.pk), conversation_id=conversation_id
                )
            if "timer" in given:
                set_timer(account=request.user, conversation_id=conversation_id, seconds=given["timer"] or 0)
                answer["timer"] = given["timer"]
        return Response(answer)


class BadgeView(APIView):
    @operation("badge", tag="me", summary="The number on the badge", answer=BadgeOutput, example={"badge": 3})
    def get(self, request: Request) -> Response:
        """Unread messages, without events and one's own, of conversations that are neither muted nor archived, and unread
        mentions of the caller in those that are. The same on all devices."""
        return Response({"badge": selectors.badge(user_id=str(request.user.pk))})


class DirectView(APIView):
    @operation(
        "open_direct",
        tag="conversations",
        summary="The 1:1 conversation with a user",
        answer=DirectOutput,
        example={"conversationId": samples.CONVERSATION},
        refuses=[Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """The 1:1 conversation with a user, made if there is none; at most 100 new ones an hour. To a user who does not have the
        caller as a contact, what the caller writes is a message request until that user accepts it."""
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
            "items": [
                selectors.event_json(event, str(request.user.pk), str(request.auth.pk))
                for event in page.events
            ],
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
