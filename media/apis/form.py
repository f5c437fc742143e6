"""/media/upload: a file in one request."""

from __future__ import annotations

from typing import Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import Refused
from accounts.rest.idempotency import REPLAYED, idempotency_key
from accounts.rest.schema import operation
from accounts.rest.uploads import FORM
from media import tasks
from media.apis.fields import MEDIA_EXAMPLE, TAG, MediaOutput, ToldInput, media_json, told
from media.apis.receiving import place, taken, told_apart
from media.models import Media, State
from media.services import uploads
from media.services.uploads import New
from media.storage import storage
from media.uploads import form
from media.uploads.ending import forget
from media.uploads.receiver import Receiver
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.streaming import Cut
from whatsapp.wire.errors import Code

#: Of a form around its file.
_FORM_BYTES: Final = 65_536


class UploadForm(ToldInput):
    file = serializers.FileField()


class UploadView(APIView):
    @operation(
        "upload",
        tag=TAG,
        summary="Upload a file in one request",
        request={FORM: UploadForm},
        answer=MediaOutput,
        example=MEDIA_EXAMPLE,
        refuses=[
            Code.RATE_LIMITED,
            Code.TOO_LARGE,
            Code.LIMIT_EXCEEDED,
            Code.NOT_FOUND,
            Code.UNSUPPORTED_MEDIA,
            Code.FEATURE_DISABLED,
        ],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """The fields may stand before the file or behind it. It is looked into afterwards unless it is encrypted: `state` says
        how far that is, and so do notices `media` on the owner's devices. Nobody may fetch it before it is `ready`. For large
        files over bad networks: `/media/tus`."""
        taken()
        http = request._request
        if (http.content_type or "").lower() != FORM:
            raise Refused(Code.UNSUPPORTED_MEDIA, f"The body must be {FORM}.")
        length = int(http.META.get("CONTENT_LENGTH") or 0)
        if length <= 0:
            raise Refused(Code.BAD_REQUEST, "Content-Length: is needed", details={"field": "Content-Length"})
        if length > LIMITS.media_document_bytes + _FORM_BYTES:
            raise Refused(Code.TOO_LARGE, f"A file has at most {LIMITS.media_document_bytes} bytes.")
        media = self._known(request)
        if media is not None:
            return Response(media_json(media), headers={REPLAYED: "true"})
        with place(str(request.user.pk)), told_apart():
            return Response(media_json(self._receive(request, length)))

    @staticmethod
    def _known(request: Request) -> Media | None:
        """What an earlier request of this name brought; one that came to no end is forgotten."""
        key = idempotency_key(request)
        media = uploads.named(account=request.user, key=key) if key else None
        if media is not None and media.state == State.UPLOADING:
            forget(uploads.terminate(account=request.user, media_id=media.pk))
            return None
        return media

    @staticmethod
    def _receive(request: Request, length: int) -> Media:
        account = request.user
        media, again = uploads.begin(
            account=account, new=New(None, None, charged=length, key=idempotency_key(request))
        )
        if again:
            raise Refused(
                Code.UNAVAILABLE, "The first request of this name still runs.", retry_after_ms=1_000
            )
        try:
            held = uploads.hold(account=account, media_id=media.pk, offset=0)
            receiver = Receiver(held, storage(), counted=True)
            receiver.open()
            fields, media_type = form.read(request._request, receiver)
            receiver.tell(uploads.tell(
                account=account, held=receiver.held, told=told(fields, media_type), length=receiver.received
            ))  # fmt: skip
            whole = receiver.close()
            assert whole is not None
        except Cut:
            uploads.abandon(media.pk, forget)
            raise Refused(Code.BAD_REQUEST, "The form came to no end.") from None
        except BaseException:
            uploads.abandon(media.pk, forget)
            raise
        tasks.process_soon(whole.pk)
        return whole
