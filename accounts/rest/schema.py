"""Pieces of the OpenAPI document that every API uses."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from accounts.rest.problems import CONTENT_TYPE
from whatsapp.wire.errors import CODES


class ProblemOutput(serializers.Serializer):
    """RFC 9457. `type` ends in `code`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.ChoiceField(choices=sorted(CODES))
    retryable = serializers.BooleanField()
    retryAfterMs = serializers.IntegerField(required=False)
    details = serializers.DictField(required=False)


_PROBLEM = OpenApiResponse(ProblemOutput, description="Problem document")

#: For ``extend_schema(responses={…, **PROBLEMS})``.
PROBLEMS: dict[Any, Any] = {("4XX", CONTENT_TYPE): _PROBLEM, ("5XX", CONTENT_TYPE): _PROBLEM}

IDEMPOTENCY_KEY = OpenApiParameter(
    "X-Idempotency-Key", str, OpenApiParameter.HEADER, description="names this request; kept for 24 h"
)


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.rest.authentication.DeviceAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
