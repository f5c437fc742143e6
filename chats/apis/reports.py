"""/reports"""

from __future__ import annotations

from typing import Any, Final, get_args

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import CATEGORIES, Report
from accounts.rest import paging, samples
from accounts.rest.fields import (
    BytesField,
    ChosenField,
    FixedBytesField,
    FlagField,
    IdField,
    TextField,
    VerbatimField,
    WholeNumberField,
)
from accounts.rest.idempotency import once
from accounts.rest.schema import operation
from chats.services.evidence import Copy
from chats.services.reports import New, report
from delivery.franking import COMMITMENT, KEY
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code
from whatsapp.wire.frames import MessageKind

#: Of a tag: a key's id and a MAC are well below.
_TAG_BYTES: Final = 192
#: Whole groups of three, rounded up: what may be sent may be reported.
_CONTENT_BYTES: Final = LIMITS.content_bytes + 2
_NOTE: Final = 2_000


class CopyInput(serializers.Serializer):
    """A message as the caller has it. With the three fields of its franking what it says is proven, and whoever changed it is
    found out; without them it is believed less."""

    messageId = IdField()
    conversationId = IdField()
    senderId = IdField()
    senderDeviceId = IdField()
    serverTimestamp = WholeNumberField(min_value=0, max_value=paging.MAX_INT)
    kind = ChosenField(get_args(MessageKind))
    content = BytesField(_CONTENT_BYTES, help_text="opened, as its sender's client wrote it")
    mediaUrl = VerbatimField(max_length=2_048, required=False, help_text="as it came, whatever it is")
    replyTo = IdField(required=False)
    frankingKey = FixedBytesField(KEY, required=False, help_text="from inside the encrypted body")
    franking = FixedBytesField(COMMITMENT, required=False, help_text="as it came with the message")
    frankingTag = BytesField(_TAG_BYTES, required=False, help_text="as it came with the message")


class ReportInput(serializers.Serializer):
    kind = ChosenField(Report.Kind.values)
    category = ChosenField(CATEGORIES)
    conversationId = IdField(help_text="where the caller met it; of a group, its own id")
    userId = IdField(
        required=False,
        help_text="who it is about: of `user` it is needed, of `message` it may be left out, else it is not looked at",
    )
    mediaId = IdField(required=False, help_text="of `media` it is needed")
    note = TextField(max_length=_NOTE, required=False, allow_blank=True)
    messages = serializers.ListField(
        child=CopyInput(),
        max_length=LIMITS.report_messages,
        required=False,
        help_text="the caller's own copies, in the order of the conversation; of `message` at least one of the accused; an "
        "edited message may come in each of its forms",
    )
    inviteCode = TextField(
        max_length=22, required=False, help_text="of `group`, for who is no member: the open invite into it"
    )
    block = FlagField(default=False, help_text="block the user as well")
    leave = FlagField(default=False, help_text="leave the group as well")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        messages = attrs.get("messages", [])
        if any(one["conversationId"] != attrs["conversationId"] for one in messages):
            raise serializers.ValidationError({"messages": ["are not all of this conversation"]})
        # One that was edited may come in each of its forms.
        if len({(one["messageId"], one["content"]) for one in messages}) < len(messages):
            raise serializers.ValidationError({"messages": ["one of them comes twice"]})
        return attrs


class ReportOutput(serializers.Serializer):
    reportId = serializers.UUIDField()
    blocked = serializers.BooleanField(
        help_text="whether `block` was asked for and done; a full list takes no more"
    )
    left = serializers.BooleanField(help_text="whether `leave` was asked for and done")


_SENT: Final = {
    "kind": "message",
    "category": "spam",
    "conversationId": samples.CONVERSATION,
    "userId": samples.BOB,
    "messages": [
        {
            "messageId": "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f61",
            "conversationId": samples.CONVERSATION,
            "senderId": samples.BOB,
            "senderDeviceId": samples.BOBS_PHONE,
            "serverTimestamp": samples.AT,
            "kind": "text",
            "content": "QnV5IHRoaXM=",
        }
    ],
    "block": True,
}


class ReportsView(APIView):
    @operation(
        "report",
        tag="conversations",
        summary="Report a user, messages, a group or a file",
        request=ReportInput,
        sent={"example": _SENT},
        answer=ReportOutput,
        status=201,
        example={"reportId": "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f62", "blocked": True, "left": False},
        refuses=[Code.NOT_FOUND, Code.GONE, Code.TOO_LARGE, Code.RATE_LIMITED],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Tell moderators of something that one was sent. `not_found`: the caller is not and was not in the conversation, or was
        not sent that message or file, or the user is not there. A `group` may also be reported by who holds an open invite. The
        reported are not told. Limited per hour and day."""
        given = ReportInput(data=request.data)
        given.is_valid(raise_exception=True)
        valid = given.validated_data

        def run() -> Response:
            made = report(account=request.user, device_id=str(request.auth.pk), new=_new(valid))
            answer = {"reportId": str(made.report_id), "blocked": made.blocked, "left": made.left}
            return Response(answer, status=201)

        return once(request, caller=str(request.user.pk), body=valid, run=run)


def _new(valid: dict[str, Any]) -> New:
    return New(
        kind=valid["kind"],
        category=valid["category"],
        conversation_id=valid["conversationId"],
        user_id=valid.get("userId"),
        media_id=valid.get("mediaId"),
        note=valid.get("note", ""),
        messages=tuple(_copy(one) for one in valid.get("messages", [])),
        invite=valid.get("inviteCode", ""),
        block=valid["block"],
        leave=valid["leave"],
    )


def _copy(valid: dict[str, Any]) -> Copy:
    return Copy(
        message_id=valid["messageId"],
        sender_id=valid["senderId"],
        device_id=valid["senderDeviceId"],
        at=valid["serverTimestamp"],
        kind=valid["kind"],
        content=valid["content"],
        media_url=valid.get("mediaUrl", ""),
        reply_to=valid.get("replyTo"),
        key=valid.get("frankingKey"),
        franking=valid.get("franking"),
        tag=valid.get("frankingTag"),
    )
