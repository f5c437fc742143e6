"""/me: one's own profile."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.appeals import limited_account
from accounts.models import Account, Device
from accounts.rest import pictures, samples
from accounts.rest.address import source_address
from accounts.rest.fields import LineField, ParagraphField, TextField
from accounts.rest.schema import BODY, operation
from accounts.rest.uploads import FORM, picture
from accounts.services import deletion, photos, pins
from accounts.services.profile import update_profile
from accounts.squares import TAKEN
from whatsapp.wire.errors import Code

#: Well-formed tags of RFC 5646, section 2.1, without the old irregular ones: language, script, region, variants, extensions,
#: private use. Empty: none.
LANGUAGE_PATTERN: Final = (
    r"^(?:[A-Za-z]{2,3}(?:-[A-Za-z]{3}){0,3}(?![A-Za-z])|[A-Za-z]{4,8})(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*(?:-[0-9A-WY-Za-wy-z](?:-[A-Za-z0-9]{2,8})+)*"
    r"(?:-[Xx](?:-[A-Za-z0-9]{1,8})+)?$|^[Xx](?:-[A-Za-z0-9]{1,8})+$|^$"
)


class MeInput(serializers.Serializer):
    name = LineField(max_length=100, required=False, allow_blank=True)
    about = ParagraphField(max_length=500, required=False, allow_blank=True)
    language = serializers.RegexField(
        LANGUAGE_PATTERN, max_length=35, required=False, allow_blank=True, help_text="BCP 47"
    )


class LimitedOutput(serializers.Serializer):
    kind = serializers.ChoiceField(
        ["slow_down", "limit"],
        help_text="`slow_down`: fewer messages a minute; `limit`: also no first contacts, groups or invites",
    )
    until = serializers.IntegerField(allow_null=True, help_text="null: for good")
    appealUrl = serializers.CharField(help_text="where to say that it is wrong")


class MeOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    deviceId = serializers.UUIDField(help_text="the calling device")
    phoneNumber = serializers.CharField()
    name = serializers.CharField()
    about = serializers.CharField()
    language = serializers.CharField()
    region = serializers.IntegerField()
    createdAt = serializers.IntegerField()
    photo = pictures.PictureOutput(allow_null=True)
    pinSet = serializers.BooleanField()
    pinFailedAt = serializers.IntegerField(
        allow_null=True, help_text="when somebody last had the number's code and a wrong PIN"
    )
    limited = LimitedOutput(allow_null=True)


class ProofInput(serializers.Serializer):
    pin = TextField(max_length=64, required=False, allow_blank=True, allow_null=True)
    code = TextField(max_length=16, required=False, allow_blank=True, allow_null=True)


#: drf-spectacular describes no body of a DELETE.
_PROOF: Final = {
    "schema": {
        "type": "object",
        "properties": {
            name: {"type": ["string", "null"], "pattern": "^[^\\u0000]*$", "maxLength": most}
            for name, most in (("pin", 64), ("code", 16))
        },
    },
    "examples": {"with a PIN": {"value": {"pin": "271828"}}, "without": {"value": {"code": "123456"}}},
}


class PhotoForm(serializers.Serializer):
    photo = serializers.FileField()


EXAMPLE = {
    "userId": samples.ANN,
    "deviceId": samples.ANNS_PHONE,
    "phoneNumber": samples.ANNS_NUMBER,
    "name": "Ann",
    "about": "At the sea",
    "language": "en",
    "region": 0,
    "createdAt": samples.AT,
    "photo": {"url": f"/users/{samples.ANN}/photo", "version": samples.PHOTO},
    "pinSet": True,
    "pinFailedAt": None,
    "limited": None,
}


def shown(account: Account, device: Device) -> dict[str, Any]:
    pin = pins.of(account=account)
    return {
        "userId": str(account.pk),
        "deviceId": str(device.pk),
        "phoneNumber": account.phone,
        "name": account.name,
        "about": account.about,
        "language": account.language,
        "region": account.region,
        "createdAt": account.created_at,
        "photo": pictures.photo_of(str(account.pk), account.photo and account.photo.digest),
        "pinSet": pin is not None,
        "pinFailedAt": pin.failed_at if pin is not None else None,
        "limited": limited_account(account),
    }


class MeView(APIView):
    @operation("me", tag="me", summary="One's own account", answer=MeOutput, example=EXAMPLE)
    def get(self, request: Request) -> Response:
        """One's own account."""
        return Response(shown(request.user, request.auth))

    @operation(
        "update_me",
        tag="me",
        summary="Change one's profile",
        request=MeInput,
        sent={"example": {"name": "Ann", "about": "At the sea"}},
        answer=MeOutput,
        example=EXAMPLE,
        refuses=[Code.RATE_LIMITED],
    )
    def patch(self, request: Request) -> Response:
        """Change name, about or language; what is not given stays."""
        data = MeInput(data=request.data)
        data.is_valid(raise_exception=True)
        changed = update_profile(
            account=request.user, changes=data.validated_data, device_id=str(request.auth.pk)
        )
        return Response(shown(changed, request.auth))

    @operation(
        "delete_me",
        tag="me",
        summary="Delete the account",
        extensions={BODY: _PROOF},
        status=204,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
    )
    def delete(self, request: Request) -> Response:
        """Delete the account, for good. A token alone does not do: the body has the `pin` of the account, or when it has none the
        `code` that `POST /auth/register` sends to its number. Without or with a wrong one the answer is `forbidden` with
        `details` {pinRequired, pinWrong?}, {codeRequired} or {codeWrong}; wrong ones are limited.

        At once: all sessions end (4410), the number is free, profile, photo, keys, address book, blocks and settings are gone,
        groups are left, contacts get the notice `contact_deleted`. What was sent is still delivered. Everything else that is
        kept of the account is gone within 90 days."""
        data = ProofInput(data=request.data)
        data.is_valid(raise_exception=True)
        deletion.delete_account(
            account=request.user,
            device=request.auth,
            pin=data.validated_data.get("pin"),
            code=data.validated_data.get("code"),
            address=source_address(request),
        )
        return Response(status=204)


class PhotoView(APIView):
    @operation(
        "set_photo",
        tag="me",
        summary="Set one's photo",
        request={**dict.fromkeys(TAKEN, OpenApiTypes.BINARY), FORM: PhotoForm},
        answer=MeOutput,
        example=EXAMPLE,
        refuses=[Code.RATE_LIMITED],
    )
    def put(self, request: Request) -> Response:
        """A JPEG, PNG or WebP of at most 512 KiB, as the body or as the file `photo` of a form; its middle is shown, turned
        upright, without anything else that was in the file. Moving pictures are `unsupported_media`. To whom it is shown:
        `PATCH /me/privacy`."""
        photos.check_may_set(account=request.user)  # before anything is read
        given = picture(request, "photo")
        request.user.photo = photos.set_photo(
            account=request.user,
            data=given.data,
            media_type=given.media_type,
            device_id=str(request.auth.pk),
        )
        return Response(shown(request.user, request.auth))

    @operation("remove_photo", tag="me", summary="Take one's photo away", status=204)
    def delete(self, request: Request) -> Response:
        """Nobody sees it any more."""
        photos.remove_photo(account=request.user, device_id=str(request.auth.pk))
        return Response(status=204)
