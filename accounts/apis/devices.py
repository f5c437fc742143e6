"""/devices: the linked devices of the caller."""

from __future__ import annotations

import uuid

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import samples
from accounts.rest.schema import operation
from accounts.selectors import linked_devices
from accounts.services.devices import unlink_device


class DeviceOutput(serializers.Serializer):
    deviceId = serializers.UUIDField()
    name = serializers.CharField()
    primary = serializers.BooleanField()
    current = serializers.BooleanField(help_text="the calling device")
    registrationId = serializers.IntegerField(allow_null=True)
    linkedAt = serializers.IntegerField()
    lastSeenAt = serializers.IntegerField()


class DevicesOutput(serializers.Serializer):
    items = DeviceOutput(many=True)


class DevicesView(APIView):
    @operation(
        "devices",
        tag="devices",
        summary="Linked devices",
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
                    "lastSeenAt": samples.AT + 60_000,
                }
            ]
        },
    )
    def get(self, request: Request) -> Response:
        """All linked devices, oldest first; they are few, so there are no pages."""
        items = [
            {
                "deviceId": str(device.pk),
                "name": device.name,
                "primary": device.primary,
                "current": device.pk == request.auth.pk,
                "registrationId": device.registration_id,
                "linkedAt": device.linked_at,
                "lastSeenAt": device.last_seen_at,
            }
            for device in linked_devices(account=request.user)
        ]
        return Response({"items": items})


class DeviceView(APIView):
    @operation("unlink_device", tag="devices", summary="Unlink a device", status=204)
    def delete(self, request: Request, device_id: uuid.UUID) -> Response:
        """Unlink a device; its socket closes within a second."""
        unlink_device(account=request.user, device_id=device_id)
        return Response(status=204)
