"""/auth/link: a new device is let in by a code on its screen."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.apis.auth import TOKENS_EXAMPLE, tokens_body
from accounts.errors import Refused
from accounts.rest import samples
from accounts.rest.address import UNKNOWN, source_address
from accounts.rest.fields import LineField, TextField, WholeNumberField
from accounts.rest.schema import operation
from accounts.rest.views import PublicView
from accounts.services import linking
from whatsapp.wire.errors import Code

HEADER: Final = "X-Link-Secret"
#: 32 bytes as base64 without padding (RFC 4648, section 5).
PATTERN: Final = r"^[A-Za-z0-9_-]{43}$"
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LINK: Final = "5b2d1f0c-7a3e-4c55-9f06-2f6a8d9c1e70"
_SAMPLE: Final = "Zk9Qd2tqT1l2S0xhUjN4bW5Xc2VBaVRoVXlCZ0NmRHA"
_POLL_SAMPLE: Final = "cDRqWm1Ia1V3OXZRYnlUbjJYc0xmUmc2Q2VNZEF1SXg"


def _header(whose: str, sample: str) -> OpenApiParameter:
    return OpenApiParameter(
        HEADER,
        {"type": "string", "pattern": PATTERN},
        OpenApiParameter.HEADER,
        required=True,
        description=whose,
        examples=[OpenApiExample("example", sample)],
    )


_POLL: Final = _header("The `pollSecret` of the new device.", _POLL_SAMPLE)
_CODE: Final = _header("The secret of the code: what follows its last `:` but one's own additions.", _SAMPLE)


class LinkInput(serializers.Serializer):
    deviceName = LineField(max_length=100, help_text="what the primary device is shown")
    registrationId = WholeNumberField(min_value=0, max_value=2**31 - 1, required=False, allow_null=True)
    deviceId = TextField(
        max_length=36, required=False, allow_blank=True, help_text="of the installation, as in `register`"
    )


class OfferOutput(serializers.Serializer):
    linkId = serializers.UUIDField()
    qr = serializers.CharField(help_text="to be shown as a QR code: `wa-link:1:<linkId>:<secret>`")
    pollSecret = serializers.CharField(help_text=f"for `{HEADER}`; never shown")
    expiresAt = serializers.IntegerField(help_text="when another code must be shown, ms since the epoch")
    retryAfter = serializers.IntegerField(help_text="ms between two looks")


class PollOutput(serializers.Serializer):
    status = serializers.ChoiceField(["pending", "approved"])
    expiresAt = serializers.IntegerField(help_text="of the code; once `approved`, of the access token")
    retryAfter = serializers.IntegerField(required=False, help_text="`pending`: ms until the next look")
    token = serializers.CharField(required=False, help_text="`approved`: as of `verify`")
    refreshToken = serializers.CharField(required=False)
    userId = serializers.UUIDField(required=False)
    deviceId = serializers.UUIDField(required=False)


class ApproveInput(serializers.Serializer):
    secret = TextField(max_length=64, help_text="of the code")
    historyDays = WholeNumberField(
        min_value=0,
        max_value=30,
        required=False,
        help_text="how much of the past the new device is given; 0 (also without it): nothing",
    )
    pin = TextField(max_length=64, required=False, allow_blank=True, help_text="if the account has one")


class AskedOutput(serializers.Serializer):
    status = serializers.ChoiceField(["pending", "approved", "linked"])
    deviceName = serializers.CharField(help_text="what the new device says of itself: it may say anything")
    askedAt = serializers.IntegerField()
    expiresAt = serializers.IntegerField(
        help_text="until then it is approved, or once that was done, fetched"
    )
    sameAddress = serializers.BooleanField(help_text="the new device asked from the caller's own address")
    historyDays = serializers.IntegerField(required=False, help_text="once it is approved")
    deviceId = serializers.UUIDField(required=False, help_text="once it is linked")


def _asked(asked: linking.Asked) -> Response:
    body: dict[str, Any] = {
        "status": asked.state,
        "deviceName": asked.device_name,
        "askedAt": asked.asked_at,
        "expiresAt": asked.expires_at,
        "sameAddress": asked.same_address,
    }
    if asked.state != "pending":
        body["historyDays"] = asked.history_days
    if asked.device_id is not None:
        body["deviceId"] = asked.device_id
    return Response(body)


_ASKED: Final = {
    "status": "pending",
    "deviceName": "Ann's laptop",
    "askedAt": samples.AT,
    "expiresAt": samples.AT + 120_000,
    "sameAddress": True,
}


def _secret(request: Request) -> str:
    """Raises :class:`Refused` (``bad_request``)."""
    secret = request.headers.get(HEADER, "")
    if not _SECRET.fullmatch(secret):
        raise Refused(Code.BAD_REQUEST, f"{HEADER} has 43 characters of base64 as in URLs.")
    return str(secret)


def _address(request: Request) -> str:
    """Two that are not known are not the same."""
    address = source_address(request)
    return "" if address == UNKNOWN else address


class LinksView(PublicView):
    @operation(
        "ask_link",
        tag="auth",
        summary="A code for a new device to show",
        request=LinkInput,
        sent={"example": {"deviceName": "Ann's laptop", "registrationId": 4711}},
        answer=OfferOutput,
        status=201,
        example={
            "linkId": _LINK,
            "qr": f"{linking.PREFIX}:{_LINK}:{_SAMPLE}",
            "pollSecret": _POLL_SAMPLE,
            "expiresAt": samples.AT + 120_000,
            "retryAfter": linking.POLL_MS,
        },
        refuses=[Code.RATE_LIMITED, Code.BANNED],
    )
    def post(self, request: Request) -> Response:
        """Each call is another code, which is good for two minutes; a repeat by `X-Idempotency-Key` is none, because nothing of
        an answer with secrets is kept. A client may append `:` and more to the code, such as a public key of its own: the
        server never sees it, and who scans the code ignores what it does not know."""
        data = LinkInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        offer = linking.ask(
            name=given["deviceName"],
            registration_id=given.get("registrationId"),
            device_id=given.get("deviceId"),
            address=source_address(request),
        )
        body = {
            "linkId": offer.link_id,
            "qr": offer.qr,
            "pollSecret": offer.poll_secret,
            "expiresAt": offer.expires_at,
            "retryAfter": linking.POLL_MS,
        }
        return Response(body, status=201)


class LinkView(APIView):
    #: Without HEAD: an answer that nobody sees would use up the session.
    http_method_names = ("get", "put", "delete", "options")

    def _public(self) -> bool:
        """The new device has no session yet. (There is no request while the document is made.)"""
        return getattr(self.request, "method", "") == "GET"

    def get_authenticators(self) -> list[Any]:
        return [] if self._public() else super().get_authenticators()

    def get_permissions(self) -> list[Any]:
        return [] if self._public() else super().get_permissions()

    @operation(
        "poll_link",
        tag="auth",
        summary="What became of the code",
        parameters=[_POLL],
        answer=PollOutput,
        examples={
            "pending": {
                "status": "pending",
                "expiresAt": samples.AT + 120_000,
                "retryAfter": linking.POLL_MS,
            },
            "approved": {"status": "approved", **TOKENS_EXAMPLE, "deviceId": samples.LAPTOP},
        },
        refuses=[Code.GONE, Code.BANNED, Code.LIMIT_EXCEEDED, Code.UNAVAILABLE],
    )
    def get(self, request: Request, link_id: uuid.UUID) -> Response:
        """For the new device. `approved` comes with its session, once: who loses that answer shows a new code. `gone`: expired,
        rejected, or fetched. With `limit_exceeded` it may go on asking while a device is removed."""
        found = linking.poll(link_id=link_id, poll_secret=_secret(request))
        if isinstance(found, linking.Pending):
            return Response(
                {"status": "pending", "expiresAt": found.expires_at, "retryAfter": linking.POLL_MS}
            )
        return Response({"status": "approved", **tokens_body(found)})

    @operation(
        "approve_link",
        tag="auth",
        summary="Let a new device in",
        request=ApproveInput,
        sent={"example": {"secret": _SAMPLE, "historyDays": 7}},
        answer=AskedOutput,
        examples={
            "approved": {**_ASKED, "status": "approved", "historyDays": 7},
            "linked": {**_ASKED, "status": "linked", "historyDays": 7, "deviceId": samples.LAPTOP},
        },
        refuses=[Code.FORBIDDEN, Code.GONE, Code.CONFLICT, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED],
    )
    def put(self, request: Request, link_id: uuid.UUID) -> Response:
        """For the primary device, `forbidden` for others. Show the person what it is about first (`look_at_link`). A repetition
        changes nothing, and says `linked` once the new device is; with other `historyDays` it is a `conflict`. `gone`: expired,
        rejected, or somebody else has approved it. An account with a PIN is asked for it: `forbidden` with {pinRequired}, with
        a wrong one also {pinWrong}."""
        data = ApproveInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        return _asked(
            linking.approve(
                account=request.user,
                device=request.auth,
                link_id=link_id,
                secret=given["secret"],
                history_days=given.get("historyDays", 0),
                pin=given.get("pin"),
                address=_address(request),
            )
        )

    @operation(
        "reject_link",
        tag="auth",
        summary="Refuse a new device",
        parameters=[_CODE],
        status=204,
        refuses=[Code.FORBIDDEN, Code.GONE, Code.CONFLICT],
    )
    def delete(self, request: Request, link_id: uuid.UUID) -> Response:
        """For the primary device: the code is void, also after it was approved. `conflict`: the device is linked already; unlink
        it."""
        linking.reject(account=request.user, device=request.auth, link_id=link_id, secret=_secret(request))
        return Response(status=204)


class LookView(APIView):
    @operation(
        "look_at_link",
        tag="auth",
        summary="What asks to be let in",
        parameters=[_CODE],
        answer=AskedOutput,
        example=_ASKED,
        refuses=[Code.FORBIDDEN, Code.GONE],
    )
    def get(self, request: Request, link_id: uuid.UUID) -> Response:
        """For the primary device, before it approves; changes nothing. The name is what the new device says of itself. If
        `sameAddress` is false, somebody far away may have made the code."""
        return _asked(
            linking.look(
                account=request.user,
                device=request.auth,
                link_id=link_id,
                secret=_secret(request),
                address=_address(request),
            )
        )
