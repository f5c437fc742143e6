"""/auth/pin: what has to be known besides the code of the number."""

from __future__ import annotations

from typing import Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest.fields import PinField, TextField
from accounts.rest.schema import BODY, operation
from accounts.services import pins
from whatsapp.wire.errors import Code


class PinInput(serializers.Serializer):
    pin = PinField(help_text="the new one")
    currentPin = TextField(
        max_length=64, required=False, allow_blank=True, allow_null=True, help_text="when there is one"
    )


class CurrentPinInput(serializers.Serializer):
    currentPin = TextField(max_length=64, required=False, allow_blank=True, allow_null=True)


#: drf-spectacular describes no body of a DELETE.
_CURRENT: Final = {
    "schema": {
        "type": "object",
        "properties": {
            "currentPin": {"type": ["string", "null"], "pattern": "^[^\\u0000]*$", "maxLength": 64}
        },
    },
    "examples": {"example": {"value": {"currentPin": "271828"}}},
}


class PinView(APIView):
    @operation(
        "set_pin",
        tag="auth",
        summary="Set or change the PIN",
        request=PinInput,
        sent={
            "the first one": {"pin": "271828"},
            "another one": {"pin": "sea-otter-7", "currentPin": "271828"},
        },
        status=204,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
    )
    def put(self, request: Request) -> Response:
        """Set the PIN (6 to 20 ASCII letters, digits or signs), or change it with `currentPin`. The first one is set by the
        primary device. From then on a new device needs it besides the code. Without or with a wrong `currentPin` the answer is
        `forbidden` with `details` {pinRequired, pinWrong?}; wrong ones are limited. A PIN that is tried first (a row, one
        character repeated, a part of one's own number) is a `bad_request`. May be repeated by the same device for an hour."""
        data = PinInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        pins.put(account=request.user, device=request.auth, pin=given["pin"], current=given.get("currentPin"))
        return Response(status=204)

    @operation(
        "remove_pin",
        tag="auth",
        summary="Remove the PIN",
        extensions={BODY: _CURRENT},
        status=204,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
    )
    def delete(self, request: Request) -> Response:
        """Remove the PIN, with `currentPin` in the body. Where there is none, nothing is asked and nothing changes."""
        data = CurrentPinInput(data=request.data)
        data.is_valid(raise_exception=True)
        pins.remove(account=request.user, device=request.auth, current=data.validated_data.get("currentPin"))
        return Response(status=204)
