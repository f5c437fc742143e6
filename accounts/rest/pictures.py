"""Pictures that stand for somebody, over HTTP: one of two sizes, kept by clients and asked about each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework import serializers
from rest_framework.request import Request

from accounts.errors import Refused
from accounts.models import Picture
from accounts.rest.schema import parameter
from accounts.services import pictures
from accounts.squares import MEDIA_TYPE
from whatsapp.wire.errors import Code

_SIZES: Final = ("full", "thumb")
SIZE: Final = parameter(
    "size",
    {"type": "string", "enum": list(_SIZES), "default": "full"},
    f"`full`: a square of at most {pictures.SIDE} pixels; `thumb`: of {pictures.THUMB_SIDE}.",
    "thumb",
)


class PictureOutput(serializers.Serializer):
    url = serializers.CharField(
        help_text="`?size=thumb` for the small one; for those who may see it, with their token"
    )
    version = serializers.CharField(help_text="another one for another picture")


def answer(request: Request, find: Callable[[], Picture]) -> HttpResponseBase:
    """The picture that ``find`` names; it raises :class:`Refused` where there is none.

    Raises :class:`Refused`: ``bad_request`` (the size), ``not_found``, ``unavailable``.
    """
    size = request.query_params.get("size", "full")
    if size not in _SIZES:
        raise Refused(Code.BAD_REQUEST, "size is full or thumb.", details={"field": "size"})
    for _ in range(2):  # the one that was found may be replaced before it is read
        picture = find()
        etag = f'"{picture.digest}-{size}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
        known = get_conditional_response(request._request, etag=etag)
        if known is not None:
            for name, value in headers.items():
                known.headers[name] = value
            return known
        content = pictures.content(picture, size)
        if content is not None:
            return HttpResponse(content, content_type=MEDIA_TYPE, headers=headers)
    raise Refused(Code.NOT_FOUND, "There is no such picture.")


def photo_of(user_id: str, version: str | None) -> dict[str, Any] | None:
    """An account's photo as clients see it; None where there is none, or none that they may see."""
    return {"url": f"/users/{user_id}/photo", "version": version} if version else None
