"""/auth/phone: the account moves to another number."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.apis.me import EXAMPLE, MeOutput, shown
from accounts.phone import normalize
from accounts.rest.address import source_address
from accounts.rest.fields import FlagField, PhoneField, TextField
from accounts.rest.schema import operation
from accounts.services import numbers
from whatsapp.wire.errors import Code


class NumberInput(serializers.Serializer):
    phoneNumber = PhoneField(help_text="the new one")
    code = TextField(max_length=16, help_text="that was sent to the new number by `POST /auth/register`")
    pin = TextField(
        max_length=64, required=False, allow_blank=True, help_text="of the account, if it has one"
    )
    replace = FlagField(required=False, help_text="The number's present account, if there is one, ends")


class PhoneView(APIView):
    @operation(
        "change_number",
        tag="auth",
        summary="Move to another number",
        request=NumberInput,
        sent={"example": {"phoneNumber": "+15550003", "code": "123456", "pin": "271828"}},
        answer=MeOutput,
        example={**EXAMPLE, "phoneNumber": "+15550003"},
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.CONFLICT, Code.WRONG_REGION],
    )
    def put(self, request: Request) -> Response:
        """Move the account to another number, from its primary device: ask for a code by `POST /auth/register` with the new
        number, and give it here. Devices, chats and groups stay. Contacts get the notice `number_changed`; the old number is
        free. To move to the number that one has changes nothing, so a request can be repeated.

        `forbidden`: not the primary device, or `details` say why: {codeWrong}, {pinRequired, pinWrong?}, or {until}: the number's
        account has a PIN and was used in the last 7 days. `conflict` with {taken}: the number has an account, which would end;
        `replace: true` says that it may. The code stays good in all these cases. Three changes a day."""
        data = NumberInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        account = numbers.change(
            account=request.user,
            device=request.auth,
            phone=normalize(given["phoneNumber"]),
            code=given["code"],
            pin=given.get("pin"),
            replace=bool(given.get("replace")),
            address=source_address(request),
        )
        return Response(shown(account, request.auth))
