"""/groups/{id}/icon: the picture of a group."""

from __future__ import annotations

import uuid
from typing import Final

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest.pictures import SIZE, answer
from accounts.rest.schema import operation
from accounts.rest.uploads import FORM, picture
from accounts.rest.views import OneForm
from accounts.squares import MEDIA_TYPE, TAKEN
from groups import selectors
from groups.apis.fields import GROUP_EXAMPLE, TAG, GroupOutput, group_json
from groups.services import icons
from whatsapp.wire.errors import Code

_FIELD: Final = "icon"


class IconForm(serializers.Serializer):
    icon = serializers.FileField()


class IconView(APIView):
    content_negotiation_class = OneForm  # <img> asks for image/*

    @operation(
        "icon",
        tag=TAG,
        summary="The picture of a group",
        parameters=[SIZE],
        answer=OpenApiTypes.BINARY,
        media_type=MEDIA_TYPE,
    )
    def get(self, request: Request, group_id: uuid.UUID) -> HttpResponseBase:
        """For members: a JPEG. With an `ETag`: kept by clients, asked about each time. `not_found`: it has none."""
        return answer(request, lambda: selectors.icon(account=request.user, group_id=group_id))

    @operation(
        "set_icon",
        tag=TAG,
        summary="Give a group a picture",
        request={**dict.fromkeys(TAKEN, OpenApiTypes.BINARY), FORM: IconForm},
        answer=GroupOutput,
        example=GROUP_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def put(self, request: Request, group_id: uuid.UUID) -> Response:
        """For whom `whoEdits` names. A JPEG, PNG or WebP of at most 512 KiB, as the body or as the file `icon` of a form; its
        middle is shown, turned upright, without anything else that was in the file. Moving pictures are `unsupported_media`.
        Members are told by an `info` event with `icon`, as `GET /groups/{id}` shows it."""
        icons.check_may_edit(account=request.user, group_id=group_id)  # before anything is read
        given = picture(request, _FIELD)
        seen = icons.set_icon(
            account=request.user, group_id=group_id, data=given.data, media_type=given.media_type
        )
        return Response(group_json(seen))

    @operation(
        "remove_icon",
        tag=TAG,
        summary="Take a group's picture away",
        status=204,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def delete(self, request: Request, group_id: uuid.UUID) -> Response:
        """For whom `whoEdits` names. Members are told by an `info` event with `icon: null`."""
        icons.remove_icon(account=request.user, group_id=group_id)
        return Response(status=204)
