"""/devices/{id}/push and /push/apps: where a device is reached while it is not connected."""

from __future__ import annotations

import base64
import functools
import uuid
import zoneinfo
from typing import Any, Final

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import samples
from accounts.rest.fields import FlagField, MatchField
from accounts.rest.schema import operation
from notifications import tokens, vapid
from notifications.models import PushTarget
from notifications.services import targets
from notifications.services.targets import QuietHours, Wanted
from whatsapp.wire.errors import Code

TAG: Final = "push"
_APP: Final = r"^[a-z0-9]+(?:-[a-z0-9]+)*$"
#: 65 and 16 bytes as base64url (which browsers give) or base64, padded or not.
_P256DH: Final = r"^[A-Za-z0-9+/_-]{87}=?$"
_AUTH: Final = r"^[A-Za-z0-9+/_-]{22}(?:==)?$"
_TIME: Final = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"
_ZONE: Final = r"^[A-Za-z0-9_+/-]{1,64}$"


class PushKeysInput(serializers.Serializer):
    p256dh = MatchField(
        _P256DH, max_length=88, help_text="the device's public key: P-256, 65 bytes uncompressed"
    )
    auth = MatchField(_AUTH, max_length=24, help_text="its secret, 16 bytes (RFC 8291)")


class SubscriptionInput(serializers.Serializer):
    """``PushSubscription.toJSON()`` of a browser (W3C Push API)."""

    endpoint = MatchField(r"^https://[!-~]+$", max_length=2048)
    keys = PushKeysInput()


class QuietInput(serializers.Serializer):
    until = MatchField(_TIME, max_length=5)
    timeZone = MatchField(_ZONE, max_length=64, help_text="of IANA")

    def get_fields(self) -> dict[str, Any]:
        return {"from": MatchField(_TIME, max_length=5), **super().get_fields()}


class PushInput(serializers.Serializer):
    app = MatchField(_APP, max_length=32, help_text="a name of `GET /push/apps`")
    token = MatchField(
        r"^[!-~]+$",
        max_length=tokens.MAX_LENGTH,
        required=False,
        help_text="the provider's; with Web Push the endpoint",
    )
    callToken = MatchField(
        r"^[!-~]+$",
        max_length=200,
        required=False,
        help_text="with APNs: the token of PushKit, which calls ring with",
    )
    keys = PushKeysInput(required=False)
    subscription = SubscriptionInput(required=False, help_text="instead of `token` and `keys`, with Web Push")
    preview = FlagField(default=True, help_text="whether what was written goes along, encrypted with `keys`")
    quietHours = QuietInput(required=False, allow_null=True, help_text="between which nothing is shown")


class QuietOutput(serializers.Serializer):
    until = serializers.CharField()
    timeZone = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.CharField(), **super().get_fields()}


class PushOutput(serializers.Serializer):
    deviceId = serializers.UUIDField()
    app = serializers.CharField()
    provider = serializers.CharField(help_text="`apns`, `fcm` or `webpush`")
    token = serializers.CharField(help_text="its end alone")
    encrypted = serializers.BooleanField(help_text="whether there are keys")
    preview = serializers.BooleanField()
    quietHours = QuietOutput(allow_null=True)
    setAt = serializers.IntegerField()


class AppOutput(serializers.Serializer):
    app = serializers.CharField()
    provider = serializers.CharField(help_text="`apns`, `fcm` or `webpush`")
    vapidKey = serializers.CharField(
        required=False,
        help_text="with Web Push: `applicationServerKey` of the subscription, base64url (RFC 8292)",
    )


class AppsOutput(serializers.Serializer):
    items = AppOutput(many=True)


_KEYS: Final = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
_QUIET: Final = {"from": "22:00", "until": "07:00", "timeZone": "Europe/Berlin"}


class PushView(APIView):
    @operation(
        "set_push",
        tag=TAG,
        summary="Set where a device is reached",
        request=PushInput,
        sent={
            "phone": {"app": "ios", "token": "3f5a" * 16, "keys": _KEYS, "quietHours": _QUIET},
            "browser": {
                "app": "web",
                "subscription": {
                    "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gAAAAABk",
                    "expirationTime": None,
                    "keys": _KEYS,
                },
            },
        },
        answer=PushOutput,
        example={
            "deviceId": samples.ANNS_PHONE,
            "app": "ios",
            "provider": "apns",
            "token": "…5a3f5a",
            "encrypted": True,
            "preview": True,
            "quietHours": _QUIET,
            "setAt": samples.AT,
        },
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.FEATURE_DISABLED],
    )
    def put(self, request: Request, device_id: uuid.UUID) -> Response:
        """From now on the calling device is reached there, and nowhere else, while no socket of it is connected. A token belongs
        to one device: who brings it takes it from another one. It is forgotten when the device is unlinked, its session is
        revoked, or its number is verified again, so a client sets it after each sign-in. `forbidden`: another device of one's
        own; `feature_disabled`: the server has no app to notify."""
        targets.check_own(account=request.user, device=request.auth, device_id=device_id)
        targets.check_apps()
        data = PushInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(_json(targets.set_target(device=request.auth, wanted=_wanted(data.validated_data))))

    @operation("clear_push", tag=TAG, summary="End it", status=204, refuses=[Code.FORBIDDEN])
    def delete(self, request: Request, device_id: uuid.UUID) -> Response:
        """The calling device is notified no more. Also when nothing is set."""
        targets.check_own(account=request.user, device=request.auth, device_id=device_id)
        targets.clear_target(device_id)
        return Response(status=204)


class AppsView(APIView):
    @operation(
        "push_apps",
        tag=TAG,
        summary="Apps that are notified",
        answer=AppsOutput,
        example={
            "items": [
                {"app": "ios", "provider": "apns"},
                {
                    "app": "web",
                    "provider": "webpush",
                    "vapidKey": "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs",
                },
            ]
        },
    )
    def get(self, request: Request) -> Response:
        """Those of this server; none: it sends no notifications."""
        return Response({"items": [_app(name) for name in settings.PUSH_APPS]})


def _app(name: str) -> dict[str, str]:
    app = settings.PUSH_APPS[name]
    shown = {"app": app.name, "provider": app.provider}
    if app.provider == "webpush" and (key := vapid.public_key_of(app)):
        shown["vapidKey"] = key
    return shown


def _wanted(data: dict[str, Any]) -> Wanted:
    """Raises :class:`Refused` (``bad_request``)."""
    subscription = data.get("subscription")
    if (subscription is None) == ("token" not in data):
        raise tokens.invalid("token", "either this or subscription is needed")
    token = subscription["endpoint"] if subscription else data["token"]
    keys = subscription["keys"] if subscription else data.get("keys")
    return Wanted(
        app=data["app"],
        token=token,
        p256dh=_bytes(keys["p256dh"]) if keys else None,
        auth=_bytes(keys["auth"]) if keys else None,
        preview=data["preview"],
        quiet=_quiet(data["quietHours"]) if data.get("quietHours") else None,
        call_token=data.get("callToken", ""),
        fields=("subscription.endpoint", "subscription.keys") if subscription else ("token", "keys"),
    )


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.rstrip("=").replace("+", "-").replace("/", "_") + "==")


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _quiet(data: dict[str, str]) -> QuietHours:
    if data["timeZone"] not in _zones():
        raise tokens.invalid("quietHours.timeZone", "is not known")
    if data["from"] == data["until"]:
        raise tokens.invalid("quietHours.until", "must be another minute than from")
    return QuietHours(_minute(data["from"]), _minute(data["until"]), data["timeZone"])


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _json(target: PushTarget) -> dict[str, Any]:
    quiet = None
    if target.quiet_from is not None and target.quiet_until is not None:
        quiet = {
            "from": _time(target.quiet_from),
            "until": _time(target.quiet_until),
            "timeZone": target.time_zone,
        }
    return {
        "deviceId": str(target.device_id),
        "app": target.app,
        "provider": settings.PUSH_APPS[target.app].provider,
        "token": tokens.shortened(target.token),
        "encrypted": target.p256dh is not None,
        "preview": target.preview,
        "quietHours": quiet,
        "setAt": target.set_at,
    }
