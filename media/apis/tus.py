"""/media/tus: uploads that go on after a cut, tus 1.0 (https://tus.io/protocols/resumable-upload) with the extensions creation,
creation-with-upload, creation-defer-length, termination, expiration and checksum."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from typing import Any, Final

from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import samples
from accounts.rest.idempotency import REPLAYED, idempotency_key
from accounts.rest.problems import CONTENT_TYPE, document
from accounts.rest.schema import STATUSES, operation
from accounts.rest.views import OneForm
from media import tasks
from media.apis.fields import TAG, told
from media.apis.receiving import place, taken, told_apart
from media.models import Media, Upload
from media.services import uploads
from media.services.uploads import Held, New
from media.storage import storage
from media.uploads.ending import forget
from media.uploads.receiver import Receiver
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.streaming import Cut, streamed
from whatsapp.wire.errors import Code

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
OFFSET_STREAM: Final = "application/offset+octet-stream"
#: ``Upload-Checksum``; the protocol wants SHA-1.
_DIGESTS: Final = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "md5": hashlib.md5}
_CHECKSUM_MISMATCH: Final = 460
#: As tusd says that a client asks again later how far its upload is.
_LOCKED: Final = 423
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,15}")
_MAX_METADATA: Final = 4_096
#: What a POST to an upload may stand for (``X-HTTP-Method-Override``).
_OVERRIDES: Final = ("PATCH", "DELETE", "HEAD")


def _header(
    name: str, schema: dict[str, Any], example: Any, text: str = "", *, required: bool = False
) -> OpenApiParameter:
    return OpenApiParameter(
        name, schema, OpenApiParameter.HEADER, required=required, description=text,
        examples=[OpenApiExample("example", example)],
    )  # fmt: skip


_RESUMABLE: Final = _header("Tus-Resumable", {"type": "string", "enum": [VERSION]}, VERSION, required=True)
_OFFSET: Final = _header("Upload-Offset", {"type": "integer", "minimum": 0}, 5_242_880, required=True)
_LENGTH: Final = _header("Upload-Length", {"type": "integer", "minimum": 1}, 482_113, "bytes in all")
_DEFER: Final = _header("Upload-Defer-Length", {"type": "string", "enum": ["1"]}, "1", "they are told later")
_METADATA: Final = _header(
    "Upload-Metadata",
    {"type": "string"},
    f"fileType aW1hZ2U=,conversationId {base64.b64encode(samples.CONVERSATION.encode()).decode()},filetype aW1hZ2UvanBlZw==",
    "`fileType` (image, video, audio, document), `conversationId`, `filetype` (the media type), `encrypted`, `sha256`; "
    "values in base64",
    required=True,
)
_CHECKSUM: Final = _header(
    "Upload-Checksum",
    {"type": "string", "pattern": "^(sha1|sha256|md5) [A-Za-z0-9+/]+={0,2}$"},
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "of this request's body",
)


class _Mismatch(Exception):
    """The bytes are not those that the checksum is of."""


class _TusView(APIView):
    content_negotiation_class = OneForm

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            raise _Version
        if request.method in ("POST", "PATCH"):
            taken()

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, _Version):
            return _problem(412, f"tus {VERSION} is spoken here.", {"Tus-Version": VERSION})
        if isinstance(error, _Mismatch):
            return _problem(
                _CHECKSUM_MISMATCH, "The bytes are not those that the checksum is of; send them again."
            )
        return super().handle_exception(error)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Tus-Resumable"] = VERSION
        if request.method == "HEAD" and response.status_code == 503:
            # tus-js-client takes every other refusal for the end of the upload, and begins again with the first byte.
            response.status_code = _LOCKED
        return response

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(
            status=204,
            headers={
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(LIMITS.media_video_bytes),
                "Tus-Checksum-Algorithm": ",".join(_DIGESTS),
            },
        )

    def get_authenticators(self) -> list[Any]:
        # What the server speaks is no secret, and a client asks for it before it has a token at hand.
        return (
            []
            if self.request is not None and self.request.method == "OPTIONS"
            else super().get_authenticators()
        )

    def get_permissions(self) -> list[Any]:
        return (
            [] if self.request is not None and self.request.method == "OPTIONS" else super().get_permissions()
        )


def _problem(status: int, text: str, more: dict[str, str] | None = None) -> Response:
    body, status, headers = document(Code.BAD_REQUEST, text, status=status)
    return Response(body, status=status, headers={**headers, **(more or {})}, content_type=CONTENT_TYPE)


class _Version(Exception):
    """Another version of the protocol, or none."""


class TusView(_TusView):
    @operation(
        "begin_upload",
        tag=TAG,
        summary="Begin an upload that can be resumed",
        request={OFFSET_STREAM: OpenApiTypes.BINARY},
        parameters=[_RESUMABLE, _LENGTH, _DEFER, _METADATA, _CHECKSUM],
        status=201,
        refuses=[
            Code.RATE_LIMITED,
            Code.TOO_LARGE,
            Code.LIMIT_EXCEEDED,
            Code.NOT_FOUND,
            Code.FEATURE_DISABLED,
        ],
        idempotent=True,
        extensions={STATUSES: [412, 460]},
    )
    def post(self, request: Request) -> Response:
        """tus 1.0. `Location` is the upload; its last part is the `mediaId`. The first bytes may come along."""
        length, metadata = _length(request), request.headers.get("Upload-Metadata", "")
        _checksum(request)
        known = _metadata(metadata)
        told_of = told(known, known.get("filetype", ""))
        key = idempotency_key(request)
        new = New(told_of, length, key=key, metadata=metadata)
        if request.content_type != OFFSET_STREAM:
            return self._begin(request, new)
        with place(str(request.user.pk)):  # before anything is counted
            return self._begin(request, new)

    def _begin(self, request: Request, new: New) -> Response:
        media, again = uploads.begin(account=request.user, new=new)
        headers = {"Location": f"/media/tus/{media.pk}"}
        if again:
            headers[REPLAYED] = "true"
            # Some clients go on behind the bytes that came along with the first request.
            headers |= _progress(
                _ended(request, media.pk) or uploads.find(account=request.user, media_id=media.pk)
            )
        else:
            try:
                headers |= _progress(self._first(request, media.pk))
            except Exception:
                if not new.key:
                    uploads.abandon(media.pk, forget)  # nobody is told where it is
                raise
        return Response(status=201, headers=headers)

    @staticmethod
    def _first(request: Request, media_id: uuid.UUID) -> Upload | Media:
        """What came along with the request that began an upload."""
        if request.content_type == OFFSET_STREAM:
            return _received(request, media_id, 0, None)
        if (body := streamed(request._request)) is not None and body.read(1):
            raise Refused(Code.UNSUPPORTED_MEDIA, f"Bytes of a file are {OFFSET_STREAM}.")
        return uploads.find(account=request.user, media_id=media_id)


class TusUploadView(_TusView):
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # For browsers and proxies that let nothing but GET and POST pass; the protocol wants it, and only of its own addresses.
        named = request.headers.get("X-HTTP-Method-Override", "").upper()
        if request.method == "POST" and named in _OVERRIDES:
            request.method = named
        return super().dispatch(request, *args, **kwargs)

    @operation(
        "upload_progress",
        tag=TAG,
        summary="How far an upload is",
        parameters=[_RESUMABLE],
        refuses=[Code.GONE],
        extensions={STATUSES: [412, 423]},
    )
    def head(self, request: Request, upload_id: uuid.UUID) -> Response:
        """tus 1.0. `Upload-Offset` bytes are safe; go on there. 423: `unavailable`, ask again."""
        headers = {}
        known: Upload | Media | None = _ended(request, upload_id)
        if known is None:
            upload = uploads.find(account=request.user, media_id=upload_id)
            if upload.length == upload.offset:
                # All bytes are here, and the request that brought the last ones came to no end.
                known = _receive(request, upload_id, upload.offset, None, body=False)
            else:
                known = upload
        metadata = known.upload_metadata if isinstance(known, Media) else known.metadata
        if metadata:
            headers["Upload-Metadata"] = metadata
        return Response(headers={**headers, **_progress(known)})

    @operation(
        "upload_bytes",
        tag=TAG,
        summary="Send bytes of an upload",
        request={OFFSET_STREAM: OpenApiTypes.BINARY},
        parameters=[_RESUMABLE, _OFFSET, _LENGTH, _CHECKSUM],
        status=204,
        refuses=[
            Code.GONE,
            Code.CONFLICT,
            Code.TOO_LARGE,
            Code.UNSUPPORTED_MEDIA,
            Code.FEATURE_DISABLED,
        ],
        extensions={STATUSES: [412, 460]},
    )
    def patch(self, request: Request, upload_id: uuid.UUID) -> Response:
        """tus 1.0. `conflict`: the upload goes on at `details.offset`. 460: the checksum is another one; nothing of the request
        counts."""
        if request.content_type != OFFSET_STREAM:
            raise Refused(Code.UNSUPPORTED_MEDIA, f"Bytes of a file are {OFFSET_STREAM}.")
        offset = _whole(request, "Upload-Offset")
        if offset is None:
            raise _bad("Upload-Offset", "is needed")
        media = _ended(request, upload_id)
        if media is not None:
            if offset != media.size:
                raise Refused(Code.CONFLICT, "This upload has all its bytes.", details={"offset": media.size})
            return Response(status=204, headers=_progress(media))
        return Response(
            status=204,
            headers=_progress(_receive(request, upload_id, offset, _whole(request, "Upload-Length"))),
        )

    @operation(
        "end_upload",
        tag=TAG,
        summary="Give up an upload",
        parameters=[_RESUMABLE],
        status=204,
        refuses=[Code.GONE, Code.CONFLICT],
        extensions={STATUSES: [412]},
    )
    def delete(self, request: Request, upload_id: uuid.UUID) -> Response:
        """tus 1.0. Of an upload that has all its bytes nothing can be given up here."""
        if _ended(request, upload_id) is not None:
            raise Refused(Code.CONFLICT, "This upload has all its bytes.")
        forget(uploads.terminate(account=request.user, media_id=upload_id))
        return Response(status=204)


def _ended(request: Request, media_id: uuid.UUID) -> Media | None:
    return uploads.whole(account=request.user, media_id=media_id)


def _receive(
    request: Request, media_id: uuid.UUID, offset: int, length: int | None, *, body: bool = True
) -> Upload | Media:
    """Take the body of the request; the upload as it is then, or the media when it is whole."""
    with place(str(request.user.pk)):
        return _received(request, media_id, offset, length, body=body)


def _received(
    request: Request, media_id: uuid.UUID, offset: int, length: int | None, *, body: bool = True
) -> Upload | Media:
    """The same of a request that has a place."""
    checksum = _checksum(request) if body else None
    with told_apart():
        held = uploads.hold(account=request.user, media_id=media_id, offset=offset, length=length)
        receiver = Receiver(held, storage(), commit=checksum is None)
        receiver.open()
        if body:
            _feed(request, receiver, held, checksum)
        media = receiver.close()
    if media is not None:
        tasks.process_soon(media.pk)
    return media or uploads.find(account=request.user, media_id=media_id)


def _feed(request: Request, receiver: Receiver, held: Held, checksum: tuple[str, bytes] | None) -> None:
    digest = _DIGESTS[checksum[0]](usedforsecurity=False) if checksum else None
    stream = streamed(request._request) or request._request
    try:
        while data := stream.read(LIMITS.media_part_bytes):
            if digest is not None:
                digest.update(data)
            receiver.feed(data)
    except Cut:
        if digest is not None:
            receiver.forget()
            raise _Mismatch from None
        return  # what has come is kept
    if digest is not None and checksum is not None and not hmac.compare_digest(digest.digest(), checksum[1]):
        receiver.forget()
        raise _Mismatch


def _progress(known: Upload | Media) -> dict[str, str]:
    if isinstance(known, Media):
        return {"Upload-Offset": str(known.size), "Upload-Length": str(known.size)}
    length = {"Upload-Defer-Length": "1"} if known.length is None else {"Upload-Length": str(known.length)}
    return {
        "Upload-Offset": str(known.offset),
        **length,
        "Upload-Expires": http_date(known.expires_at / 1000),
    }


def _bad(name: str, text: str) -> Refused:
    return Refused(Code.BAD_REQUEST, f"{name}: {text}", details={"field": name})


def _whole(request: Request, name: str) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise _bad(name, "must be a whole number")
    return int(text)


def _length(request: Request) -> int | None:
    length, deferred = _whole(request, "Upload-Length"), request.headers.get("Upload-Defer-Length")
    if (length is None) == (deferred is None) or deferred not in (None, "1"):
        raise _bad("Upload-Length", "or Upload-Defer-Length: 1 is needed")
    return length


def _metadata(text: str) -> dict[str, str]:
    """``Upload-Metadata``: names with values in base64, separated by commas."""
    if len(text) > _MAX_METADATA:
        raise _bad("Upload-Metadata", f"has at most {_MAX_METADATA} bytes")
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition(" ")
        if name in found:
            raise _bad("Upload-Metadata", f"{name[:40]} is there twice")
        try:
            found[name] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _bad("Upload-Metadata", "holds a value that is not UTF-8 in base64") from None
    return found


def _checksum(request: Request) -> tuple[str, bytes] | None:
    text = request.headers.get("Upload-Checksum")
    if text is None:
        return None
    name, _, value = text.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if name not in _DIGESTS or len(digest) != _DIGESTS[name](usedforsecurity=False).digest_size:
        raise _bad("Upload-Checksum", "is none of " + ", ".join(_DIGESTS))
    return name, digest
