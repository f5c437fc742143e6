"""/media/presigned: uploads whose parts go straight into the storage, with any client that can PUT."""

from __future__ import annotations

import uuid
from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest import samples
from accounts.rest.fields import FlagField, MatchField, TextField, WholeNumberField
from accounts.rest.idempotency import REPLAYED, idempotency_key
from accounts.rest.paging import MAX_INT, page_limit, whole_number
from accounts.rest.schema import limit, number, operation
from media import tasks
from media.apis.fields import (
    MEDIA_EXAMPLE,
    MEDIA_ID,
    SHA256_PATTERN,
    TAG,
    MediaOutput,
    ToldInput,
    media_json,
    told_of,
)
from media.apis.receiving import taken, told_apart
from media.models import Media, State, Upload
from media.services import uploads
from media.services.uploads import New
from media.storage import storage
from media.storage.interface import MOST_PARTS
from media.uploads import presigned
from media.uploads.ending import forget
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Addresses of a page: so many, and at most so many.
_PAGE: Final = 100
_MOST: Final = 500
#: No server's has anything else in it.
_ETAG: Final = r'^"?[0-9A-Za-z._+/=-]{1,120}"?$'


class PresignedInput(ToldInput):
    size = WholeNumberField(min_value=1, max_value=MAX_INT, help_text="bytes of the file")
    mediaType = TextField(max_length=200, default="", allow_blank=True)
    encrypted = FlagField(default=False, help_text="end-to-end encrypted, never looked into")
    sha256 = MatchField(
        SHA256_PATTERN, required=False, help_text="of the file, in hexadecimal; other bytes are refused"
    )


class PartInput(serializers.Serializer):
    number = WholeNumberField(min_value=1, max_value=MOST_PARTS)
    etag = MatchField(_ETAG, help_text="the `ETag` of the answer, with or without its quotes")


class PartsInput(serializers.Serializer):
    parts = serializers.ListField(child=PartInput(), min_length=1, max_length=MOST_PARTS)


class AddressOutput(serializers.Serializer):
    number = serializers.IntegerField()
    url = serializers.CharField(help_text="PUT exactly `size` bytes here")
    size = serializers.IntegerField()
    etag = serializers.CharField(
        allow_null=True, help_text="of the part that is there; null: none of this size is"
    )


class PresignedOutput(serializers.Serializer):
    mediaId = serializers.UUIDField()
    uploadId = serializers.UUIDField()
    state = serializers.ChoiceField(State.values)
    size = serializers.IntegerField()
    partSize = serializers.IntegerField(help_text="bytes of each part but the last one; 0 of a whole upload")
    parts = AddressOutput(many=True)
    next = serializers.IntegerField(required=False, help_text="`after` of the next page")
    urlsExpireAt = serializers.IntegerField(help_text="when these addresses end; ask for others then")
    expiresAt = serializers.IntegerField(help_text="when the upload ends unless it is complete")


_EXAMPLE: Final = {
    "mediaId": MEDIA_ID,
    "uploadId": MEDIA_ID,
    "state": "uploading",
    "size": 20_000_000,
    "partSize": 8_388_608,
    "parts": [
        {
            "number": 1,
            "url": f"https://media.example.s3.amazonaws.com/incoming/{MEDIA_ID}?partNumber=1&uploadId=VXBsb2Fk",
            "size": 8_388_608,
            "etag": None,
        }
    ],
    "next": 1,
    "urlsExpireAt": samples.AT + 900_000,
    "expiresAt": samples.AT + 86_400_000,
}
_SENT: Final = {
    "video": {
        "fileType": "video", "conversationId": samples.CONVERSATION, "size": 20_000_000, "mediaType": "video/mp4",
    }
}  # fmt: skip


class PresignedView(APIView):
    @operation(
        "begin_presigned",
        tag=TAG,
        summary="Begin an upload straight into the storage",
        request=PresignedInput,
        sent=_SENT,
        answer=PresignedOutput,
        status=201,
        example=_EXAMPLE,
        refuses=[
            Code.RATE_LIMITED,
            Code.TOO_LARGE,
            Code.LIMIT_EXCEEDED,
            Code.NOT_FOUND,
            Code.FEATURE_DISABLED,
        ],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Each part is put with a plain PUT to its `url`, in any order and again after a cut; the `ETag` of the answer names it.
        An address takes exactly `size` bytes. Then `complete`."""
        taken()
        given = PresignedInput(data=request.data)
        given.is_valid(raise_exception=True)
        valid, key = given.validated_data, idempotency_key(request)
        new = New(
            told_of(valid, valid["mediaType"]),
            valid["size"],
            key=key,
            part_size=LIMITS.media_signed_part_bytes,
        )
        media, again = uploads.begin(account=request.user, new=new)
        headers = {REPLAYED: "true"} if again else {}
        try:
            with told_apart():
                return Response(_page(request, media.pk, 0, _PAGE), status=201, headers=headers)
        except Refused as error:
            if error.code == Code.UNAVAILABLE and not key:
                uploads.abandon(media.pk, forget)  # nobody knows of it
            raise


class PresignedUploadView(APIView):
    @operation(
        "presigned",
        tag=TAG,
        summary="Addresses for the parts of an upload, and which are there",
        answer=PresignedOutput,
        example=_EXAMPLE,
        parameters=[
            number("after", "Cursor: the `next` of the page before.", example=100),
            limit(_PAGE, _MOST),
        ],
        refuses=[Code.GONE, Code.FEATURE_DISABLED],
    )
    def get(self, request: Request, upload_id: uuid.UUID) -> Response:
        """After a cut, or when the addresses have ended. `etag` says that a part is there and need not be put again."""
        taken()
        after, size = whole_number(request, "after", 0), page_limit(request, _PAGE, _MOST)
        with told_apart():
            return Response(_page(request, upload_id, after, size))

    @operation(
        "end_presigned",
        tag=TAG,
        summary="Give up an upload",
        status=204,
        refuses=[Code.GONE, Code.CONFLICT],
    )
    def delete(self, request: Request, upload_id: uuid.UUID) -> Response:
        """What was put is deleted. `conflict`: it is complete."""
        if uploads.whole(account=request.user, media_id=upload_id) is not None:
            raise Refused(Code.CONFLICT, "This upload has all its bytes.")
        forget(uploads.terminate(account=request.user, media_id=upload_id, presigned=True))
        return Response(status=204)


class CompleteView(APIView):
    @operation(
        "complete_presigned",
        tag=TAG,
        summary="Say that all parts are put",
        request=PartsInput,
        sent={"parts": {"parts": [{"number": 1, "etag": '"9b2cf535f27731c974343645a3985328"'}]}},
        answer=MediaOutput,
        example=MEDIA_EXAMPLE,
        refuses=[Code.GONE, Code.CONFLICT, Code.FEATURE_DISABLED],
    )
    def post(self, request: Request, upload_id: uuid.UUID) -> Response:
        """From here on as any upload. The storage is asked what is there: `conflict` names in `details.parts` the parts that are
        not, or are others. May be repeated."""
        taken()
        given = PartsInput(data=request.data)
        given.is_valid(raise_exception=True)
        listed = [(part["number"], part["etag"]) for part in given.validated_data["parts"]]
        told = dict(listed)
        if len(told) != len(listed):
            raise Refused(Code.BAD_REQUEST, "parts: a number is there twice", details={"field": "parts"})
        with told_apart():
            media, now = presigned.complete(
                account=request.user, media_id=upload_id, told=told, storage=storage()
            )
        if now:
            tasks.process_soon(media.pk)
        return Response(media_json(media))


def _page(request: Request, media_id: uuid.UUID, after: int, size: int) -> dict[str, Any]:
    """Of an upload that is complete: no addresses. Raises as :func:`presigned.addresses` and :func:`uploads.find`."""
    media = uploads.whole(account=request.user, media_id=media_id)
    if media is not None:
        return _json(media, None, presigned.Addresses([], False, 0), request)
    upload = presigned.begin(uploads.find(account=request.user, media_id=media_id, presigned=True), storage())
    found = presigned.addresses(upload, storage(), after=after, limit=size, now=now_ms())
    return _json(upload.media, upload, found, request)


def _json(
    media: Media, upload: Upload | None, found: presigned.Addresses, request: Request
) -> dict[str, Any]:
    return {
        "mediaId": str(media.pk),
        "uploadId": str(media.pk),
        "state": media.state,
        "size": media.size,
        "partSize": upload.part_size if upload is not None else 0,
        "parts": [
            {
                "number": part.number,
                "url": request.build_absolute_uri(part.url),  # a folder's is a path
                "size": part.size,
                "etag": part.etag or None,
            }
            for part in found.parts
        ],
        **({"next": found.parts[-1].number} if found.more else {}),
        "urlsExpireAt": found.until,
        "expiresAt": upload.expires_at if upload is not None else media.created_at + LIMITS.media_unused_ms,
    }
