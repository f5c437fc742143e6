"""A picture in the body of a request: alone, or as the one file of a form."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.request import Request

from accounts.errors import Refused
from accounts.squares import TAKEN
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

FORM: Final = "multipart/form-data"
#: Of the form around the file: boundaries, headers, fields of no interest.
_FORM_BYTES: Final = 16_384


class Picture(NamedTuple):
    data: bytes
    media_type: str  # as declared; a key of ``TAKEN``


def picture(request: Request, field: str) -> Picture:
    """The picture of a request: its body, or the file ``field`` of its form. Not more than ``LIMITS.image_bytes`` is read.

    Raises :class:`Refused`: ``too_large``, ``unsupported_media``, ``bad_request`` (no file, or several).
    """
    http: HttpRequest = request._request
    media_type = (http.content_type or "").lower()
    if http.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _unsupported()  # RFC 9110, section 8.4.1
    if media_type == FORM:
        declared, allowed = _declared(http), LIMITS.image_bytes + _FORM_BYTES
        if declared > allowed:
            raise _too_large()
        file = _file(http, field)
        media_type, size = (file.content_type or "").lower(), file.size or 0
        if media_type not in TAKEN:
            raise _unsupported()
        if size > LIMITS.image_bytes:
            raise _too_large()
        return _checked(file.read(), media_type)
    if media_type not in TAKEN:
        raise _unsupported()
    if _declared(http) > LIMITS.image_bytes:
        raise _too_large()
    return _checked(http.read(LIMITS.image_bytes + 1), media_type)


def _checked(data: bytes, media_type: str) -> Picture:
    if len(data) > LIMITS.image_bytes:
        raise _too_large()
    if not data:
        raise Refused(Code.BAD_REQUEST, "There is no picture in the request.")
    return Picture(data, media_type)


def _file(http: HttpRequest, field: str) -> UploadedFile:
    try:
        # Django does it by itself for a POST only.
        _, found = MultiPartParser(http.META, http, http.upload_handlers, http.encoding or "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation):
        raise Refused(Code.BAD_REQUEST, "The form cannot be read.") from None
    files = [file for name in found for file in found.getlist(name)]
    if len(files) != 1 or field not in found:
        raise Refused(Code.BAD_REQUEST, f"The form needs one file, named {field}.", details={"field": field})
    return files[0]


def _declared(http: HttpRequest) -> int:
    text = http.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isdigit() else 0


def _too_large() -> Refused:
    return Refused(
        Code.TOO_LARGE,
        f"A picture has at most {LIMITS.image_bytes} bytes.",
        details={"limit": LIMITS.image_bytes},
    )


def _unsupported() -> Refused:
    return Refused(
        Code.UNSUPPORTED_MEDIA,
        f"Pictures are {', '.join(TAKEN)}; or a form ({FORM}) with one of them.",
        details={"reason": "not_allowed"},
    )
