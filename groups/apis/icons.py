"""/groups/{id}/icon: the picture of a group."""

from __future__ import annotations

import uuid
from typing import Final

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest.schema import operation, parameter
from accounts.rest.uploads import FORM, picture
from accounts.rest.views import OneForm
from groups import access, selectors
from groups.apis.fields import GROUP_EXAMPLE, TAG, GroupOutput, group_json
from groups.services import icons
from whatsapp.infra.images import FORMATS, MEDIA_TYPE
from whatsapp.wire.errors import Code

_FIELD: Final = "icon"
_SIZES: Final = ("full", "thumb")
_SIZE: Final = parameter(
    "size",
    {"type": "string", "enum": list(_SIZES), "default": "full"},
    f"`full`: a square of at most {icons.SIDE} pixels; `thumb`: of {icons.THUMB_SIDE}.",
    "thumb",
)


class IconForm(serializers.Serializer):
    icon = serializers.FileField()


class IconView(APIView):
    content_negotiation_class = OneForm  # <img> asks for image/*

    @operation(
        "icon",
        tag=TAG,
        summary="The picture of a group",
        parameters=[_SIZE],
        answer=OpenApiTypes.BINARY,
        media_type=MEDIA_TYPE,
    )
    def get(self, request: Request, group_id: uuid.UUID) -> HttpResponseBase:
        """For members: a JPEG. With an `ETag`: kept by clients, asked about each time. `not_found`: it has none."""
        size = request.query_params.get("size", "full")
        if size not in _SIZES:
            raise Refused(Code.BAD_REQUEST, "size is full or thumb.", details={"field": "size"})
        return _shown(request, group_id, size)

    @operation(
        "set_icon",
        tag=TAG,
        summary="Give a group a picture",
        request={**dict.fromkeys(FORMATS, OpenApiTypes.BINARY), FORM: IconForm},
        answer=GroupOutput,
        example=GROUP_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
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
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
    )
    def delete(self, request: Request, group_id: uuid.UUID) -> Response:
        """For whom `whoEdits` names. Members are told by an `info` event with `icon: null`."""
        icons.remove_icon(account=request.user, group_id=group_id)
        return Response(status=204)


def _shown(request: Request, group_id: uuid.UUID, size: str) -> HttpResponseBase:
    for _ in range(2):  # the one that was found may be replaced before it is read
        icon = selectors.icon(account=request.user, group_id=group_id)
        etag = f'"{icon.digest}-{size}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
        known = get_conditional_response(request._request, etag=etag)
        if known is not None:
            for name, value in headers.items():
                known.headers[name] = value
            return known
        content = selectors.icon_content(icon, size)
        if content is not None:
            return HttpResponse(content, content_type=MEDIA_TYPE, headers=headers)
    raise access.outsider()
