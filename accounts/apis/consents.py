"""/me/consents: what one has agreed to."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Consent
from accounts.rest import samples
from accounts.rest.fields import ChosenField, TextField
from accounts.rest.idempotency import once
from accounts.rest.schema import operation
from accounts.services import consents
from whatsapp.wire.errors import Code

_EXAMPLE: Final = {
    "document": "terms",
    "version": "2026-11",
    "givenAt": samples.AT,
    "withdrawnAt": None,
    "deviceId": samples.ANNS_PHONE,
}


class ConsentInput(serializers.Serializer):
    document = TextField(max_length=32)
    given = ChosenField(["yes", "no"], help_text="`no` takes it back")
    version = TextField(
        max_length=64, required=False, allow_blank=True, help_text="what one agrees to; with `yes`"
    )


class ConsentOutput(serializers.Serializer):
    document = serializers.CharField()
    version = serializers.CharField()
    givenAt = serializers.IntegerField()
    withdrawnAt = serializers.IntegerField(allow_null=True)
    deviceId = serializers.UUIDField(allow_null=True, help_text="with which it was given")


class ConsentsOutput(serializers.Serializer):
    documents = serializers.ListField(
        child=serializers.CharField(), help_text="what can be agreed to here: `terms`, and purposes"
    )
    termsVersion = serializers.CharField(
        allow_blank=True, help_text="of the terms of now; empty: there are none"
    )
    items = ConsentOutput(many=True, help_text="every yes, also those taken back; the newest first")


def _shown(consent: Consent) -> dict[str, Any]:
    return {
        "document": consent.document,
        "version": consent.version,
        "givenAt": consent.given_at,
        "withdrawnAt": consent.withdrawn_at,
        "deviceId": str(consent.device) if consent.device else None,
    }


def _listed(request: Request) -> dict[str, Any]:
    return {
        "documents": consents.documents(),
        "termsVersion": settings.TERMS_VERSION,
        "items": [_shown(one) for one in consents.history(request.user)],
    }


class ConsentsView(APIView):
    @operation(
        "consents",
        tag="me",
        summary="What one has agreed to",
        answer=ConsentsOutput,
        example={"documents": ["terms", "diagnostics"], "termsVersion": "2026-11", "items": [_EXAMPLE]},
    )
    def get(self, request: Request) -> Response:
        """What can be agreed to, and every time that one did, with the time at which it was taken back."""
        return Response(_listed(request))

    @operation(
        "consent",
        tag="me",
        summary="Agree, or take it back",
        request=ConsentInput,
        sent={
            "agree": {"document": "diagnostics", "given": "yes", "version": "1"},
            "take it back": {"document": "diagnostics", "given": "no"},
        },
        answer=ConsentsOutput,
        example={"documents": ["terms", "diagnostics"], "termsVersion": "2026-11", "items": [_EXAMPLE]},
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Agree to a version of a document, or take back what was agreed to of it. What is so already stays as it is.

        Of `terms` only the version of now can be agreed to (`forbidden`, {termsRequired}), and they cannot be taken back
        (`forbidden`, {deleteAccount}): who does not want them any more deletes the account."""
        data = ConsentInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data

        def run() -> Response:
            who = {"account": request.user, "device_id": request.auth.pk}
            if given["given"] == "yes":
                consents.give(document=given["document"], version=given.get("version") or "", **who)
            else:
                consents.withdraw(document=given["document"], **who)
            return Response(_listed(request))

        return once(request, caller=str(request.user.pk), body=given, run=run)
