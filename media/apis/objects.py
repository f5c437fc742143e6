"""/media/{id}: what became of an upload, and where its files are."""

from __future__ import annotations

import uuid
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import samples
from accounts.rest.paging import id_parameter
from accounts.rest.schema import operation, parameter
from accounts.rest.views import OneForm
from media import selectors
from media.apis.fields import MEDIA_EXAMPLE, TAG, MediaOutput, media_json
from media.apis.receiving import taken, told_apart
from media.attaching import LOOKED_THROUGH
from media.pipeline import thumbnails
from media.storage import storage
from media.tools.renditions import Name
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_NAMES: Final = tuple(Name)
#: Seconds. Long enough to begin; a download that has begun goes on.
_GOOD_S: Final = 300
_RENDITION: Final = parameter(
    "rendition",
    {"type": "string", "enum": [str(name) for name in _NAMES]},
    "Which form of it; without, the whole: of a video the largest, of a sound the Opus.",
    "thumb",
)
_CONVERSATION: Final = parameter(
    "conversationId",
    {"type": "string", "format": "uuid"},
    f"Where the caller was sent it. Without it the last {LOOKED_THROUGH} messages with it are looked through.",
    samples.CONVERSATION,
)


class MediaView(APIView):
    @operation(
        "media",
        tag=TAG,
        summary="What became of an upload",
        answer=MediaOutput,
        example=MEDIA_EXAMPLE,
        refuses=[Code.GONE],
    )
    def get(self, request: Request, media_id: uuid.UUID) -> Response:
        """For its owner. `uploading`, then `stored`, `processing` (with `percent`) and `ready` or `refused` (with `reason`)."""
        media = selectors.own(account=request.user, media_id=media_id)
        return Response(media_json(media, thumbnail=media_id in selectors.thumbnails([media_id])))


class ContentView(APIView):
    content_negotiation_class = OneForm  # <img> asks for image/*

    @operation(
        "media_content",
        tag=TAG,
        summary="Where the file is",
        parameters=[_RENDITION, _CONVERSATION],
        status=302,
        refuses=[Code.GONE, Code.UNSUPPORTED_MEDIA],
    )
    def get(self, request: Request, media_id: uuid.UUID) -> HttpResponseBase:
        """Leads to an address that is good for some minutes, with ranges and an `ETag`, and the same for some minutes, so that
        caches hold what it names. For its owner and those who were sent it in a message that they may read. `unavailable`: it
        is not ready yet."""
        name = request.query_params.get("rendition", "")
        if name and name not in _NAMES:
            said = "rendition: is none of " + ", ".join(_NAMES)
            raise Refused(Code.BAD_REQUEST, said, details={"field": "rendition"})
        found = selectors.rendition(
            account=request.user,
            media_id=media_id,
            name=name,
            conversation_id=id_parameter(request, "conversationId"),
        )
        url = storage().signed_url(found.key, expires_s=_GOOD_S, media_type=found.media_type, now_ms=now_ms())
        return HttpResponse(status=302, headers={"Location": url})


class ThumbnailView(APIView):
    @operation(
        "set_thumbnail",
        tag=TAG,
        summary="Give an encrypted file its encrypted small picture",
        request={thumbnails.MEDIA_TYPE: OpenApiTypes.BINARY},
        answer=MediaOutput,
        example={
            **MEDIA_EXAMPLE,
            "encrypted": True,
            "thumbnailUrl": f"{MEDIA_EXAMPLE['mediaUrl']}?rendition=thumb",
        },
        refuses=[Code.FEATURE_DISABLED, Code.GONE, Code.RATE_LIMITED, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA],
    )
    def put(self, request: Request, media_id: uuid.UUID) -> Response:
        """For its owner, before or after the bytes of the file have come: at most 64 KiB that the server does not look into, kept
        and deleted with the file. Who may fetch the file fetches it as `rendition=thumb`, also while the file is not `ready`. The
        same bytes again change nothing; others take its place."""
        taken()
        selectors.own(account=request.user, media_id=media_id)  # before anything is read
        data = _opaque(request._request)
        with told_apart():
            media = thumbnails.put(account=request.user, media_id=media_id, data=data)
        return Response(media_json(media, thumbnail=True))


def _opaque(http: HttpRequest) -> bytes:
    """The body. Raises :class:`Refused`."""
    most = LIMITS.media_thumbnail_bytes
    encoded = http.headers.get("Content-Encoding", "identity").lower() != "identity"
    if encoded or (http.content_type or "").lower() != thumbnails.MEDIA_TYPE:
        raise Refused(Code.UNSUPPORTED_MEDIA, f"The body must be {thumbnails.MEDIA_TYPE}.")
    declared = http.META.get("CONTENT_LENGTH") or ""
    too_long = declared.isdecimal() and int(declared) > most
    data = b"" if too_long else http.read(most + 1)
    if too_long or len(data) > most:
        raise Refused(Code.TOO_LARGE, f"A thumbnail has at most {most} bytes.", details={"limit": most})
    if not data:
        raise Refused(Code.BAD_REQUEST, "A thumbnail has at least one byte.")
    return data
