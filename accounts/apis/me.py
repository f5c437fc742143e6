"""/me: one's own profile."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.models import Account, Device
from accounts.rest.schema import PROBLEMS
from accounts.services.profile import update_profile
from whatsapp.wire.errors import Code


class MeInput(serializers.Serializer):
    name = serializers.CharField(max_length=100, required=False, allow_blank=True)
    about = serializers.CharField(max_length=500, required=False, allow_blank=True)
    language = serializers.RegexField(
        r"\A(?:[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*)?\Z",
        max_length=35,
        required=False,
        allow_blank=True,
        help_text="BCP 47",
    )


class MeOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    deviceId = serializers.UUIDField(help_text="the calling device")
    phoneNumber = serializers.CharField()
    name = serializers.CharField()
    about = serializers.CharField()
    language = serializers.CharField()
    region = serializers.IntegerField()
    createdAt = serializers.IntegerField()


def _me(account: Account, device: Device) -> dict[str, Any]:
    return {
        "userId": str(account.pk),
        "deviceId": str(device.pk),
        "phoneNumber": account.phone,
        "name": account.name,
        "about": account.about,
        "language": account.language,
        "region": account.region,
        "createdAt": account.created_at,
    }


class MeView(APIView):
    @extend_schema(operation_id="me", responses={200: MeOutput, **PROBLEMS})
    def get(self, request: Request) -> Response:
        """One's own account."""
        return Response(_me(request.user, request.auth))

    @extend_schema(operation_id="update_me", request=MeInput, responses={200: MeOutput, **PROBLEMS})
    def patch(self, request: Request) -> Response:
        """Change name, about or language; what is not given stays."""
        data = MeInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(_me(update_profile(account=request.user, changes=data.validated_data), request.auth))

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        raise Refused(Code.FEATURE_DISABLED, "This is not available here yet.")
