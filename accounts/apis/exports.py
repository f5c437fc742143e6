"""/me/export: an archive of what is held about oneself."""

from __future__ import annotations

import uuid
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import tasks
from accounts.models import Export
from accounts.rest import samples
from accounts.rest.schema import operation
from accounts.services import exports
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

_STATES = list(Export.State.values)
_ID = "5d2c7d1e-5b1c-4f0e-9f0a-3b8f6a1d2c44"


class ExportAskedOutput(serializers.Serializer):
    exportId = serializers.UUIDField()
    state = serializers.ChoiceField(_STATES)


class ExportOutput(serializers.Serializer):
    exportId = serializers.UUIDField()
    state = serializers.ChoiceField(_STATES)
    askedAt = serializers.IntegerField()
    expiresAt = serializers.IntegerField(help_text="from then on the file is gone")
    size = serializers.IntegerField(required=False, help_text="bytes")
    url = serializers.CharField(
        required=False, help_text="where the file is, for a quarter of an hour; ask again for another one"
    )


class ExportsView(APIView):
    region_free = True  # whoever should not be here takes along what is theirs

    @operation(
        "ask_export",
        tag="me",
        summary="Ask for an archive of one's data",
        answer=ExportAskedOutput,
        example={"exportId": _ID, "state": "waiting"},
        status=202,
    )
    def post(self, request: Request) -> Response:
        """Ask for an archive of everything that is held about oneself. It is made in a while: `GET /me/export/{id}` says when.
        One a day: who asks again within it gets the same one."""
        export = exports.ask(account=request.user, now=now_ms())
        if export.state == Export.State.WAITING:
            tasks.build_export_soon(export.pk)
        return Response({"exportId": str(export.pk), "state": export.state}, status=202)


class ExportView(APIView):
    @operation(
        "export",
        tag="me",
        summary="How far an archive is",
        answer=ExportOutput,
        example={
            "exportId": _ID,
            "state": "ready",
            "askedAt": samples.AT,
            "expiresAt": samples.AT + 7 * 86_400_000,
            "size": 48_213,
            "url": "/media/blobs/exports/5d2c7d1e5b1c4f0e9f0a3b8f6a1d2c44?…",
        },
        refuses=[Code.NOT_FOUND],
    )
    def get(self, request: Request, export_id: uuid.UUID) -> Response:
        """How far it is; once it is `ready`, where its file is: a ZIP with `README.txt`, `manifest.json` (every file with its
        SHA-256) and JSON Lines. It is gone seven days after it was asked for (`expired`)."""
        now = now_ms()
        export = exports.of(account=request.user, export_id=export_id)
        expired = export.expires_at <= now
        said: dict[str, Any] = {
            "exportId": str(export.pk),
            "state": Export.State.EXPIRED if expired else export.state,
            "askedAt": export.asked_at,
            "expiresAt": export.expires_at,
        }
        if (url := exports.url(export, now)) is not None:
            said |= {"size": export.size, "url": url}
        return Response(said)
