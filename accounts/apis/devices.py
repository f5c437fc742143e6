"""/devices: the linked devices of the caller."""

from __future__ import annotations

import uuid
from typing import Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import paging, samples
from accounts.rest.schema import number, operation
from accounts.selectors import linked_devices, removed_devices
from accounts.services.devices import unlink_device
from whatsapp.wire.errors import Code

_REMOVED: Final = 100


class DeviceOutput(serializers.Serializer):
    deviceId = serializers.UUIDField()
    name = serializers.CharField()
    primary = serializers.BooleanField()
    current = serializers.BooleanField(help_text="the calling device")
    registrationId = serializers.IntegerField(allow_null=True)
    linkedAt = serializers.IntegerField()
    linkedBy = serializers.UUIDField(
        allow_null=True, help_text="the device that approved it; null: its number was verified on it"
    )
    lastSeenAt = serializers.IntegerField()


class RemovedOutput(serializers.Serializer):
    deviceId = serializers.UUIDField()
    name = serializers.CharField()
    removedAt = serializers.IntegerField()
    reason = serializers.ChoiceField(
        ["removed", "logout", "idle", "staff", ""],
        help_text="by another device, by itself, for not being used, by staff; empty: not known any more",
    )


class DevicesOutput(serializers.Serializer):
    items = DeviceOutput(many=True)
    removed = RemovedOutput(many=True, required=False, help_text="only with `since`; the latest 100")


class DevicesView(APIView):
    @operation(
        "devices",
        tag="devices",
        summary="Linked devices",
        parameters=[
            number("since", "Also which were removed after this, ms since the epoch.", example=samples.AT)
        ],
        answer=DevicesOutput,
        example={
            "items": [
                {
                    "deviceId": samples.ANNS_PHONE,
                    "name": "Ann's phone",
                    "primary": True,
                    "current": True,
                    "registrationId": 4711,
                    "linkedAt": samples.AT,
                    "linkedBy": None,
                    "lastSeenAt": samples.AT + 60_000,
                }
            ],
            "removed": [
                {
                    "deviceId": samples.LAPTOP,
                    "name": "Ann's laptop",
                    "removedAt": samples.AT + 60_000,
                    "reason": "idle",
                }
            ],
        },
    )
    def get(self, request: Request) -> Response:
        """All linked devices, oldest first; they are few, so there are no pages. `since`: for a device that was away when the
        notice `device_removed` came."""
        items = [
            {
                "deviceId": str(device.pk),
                "name": device.name,
                "primary": device.primary,
                "current": device.pk == request.auth.pk,
                "registrationId": device.registration_id,
                "linkedAt": device.linked_at,
                "linkedBy": str(device.linked_by_id) if device.linked_by_id else None,
                "lastSeenAt": device.last_seen_at,
            }
            for device in linked_devices(account=request.user)
        ]
        since = paging.whole_number(request, "since", 0)
        if not since:
            return Response({"items": items})
        removed = [
            {
                "deviceId": str(device.pk),
                "name": device.name,
                "removedAt": device.unlinked_at,
                "reason": device.unlinked_for,
            }
            for device in removed_devices(account=request.user, since=since, limit=_REMOVED)
        ]
        return Response({"items": items, "removed": removed})


class DeviceView(APIView):
    @operation(
        "unlink_device", tag="devices", summary="Unlink a device", status=204, refuses=[Code.FORBIDDEN]
    )
    def delete(self, request: Request, device_id: uuid.UUID) -> Response:
        """Unlink a device; its socket closes within a second. `forbidden`: the primary device, by one that was let in by a code
        on its screen."""
        own = device_id == request.auth.pk
        unlink_device(
            account=request.user,
            device_id=device_id,
            reason="logout" if own else "removed",
            by=request.auth,
        )
        return Response(status=204)
