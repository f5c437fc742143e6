"""/media/{id}: what became of an upload."""

from __future__ import annotations

import uuid

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest.schema import operation
from media import selectors
from media.apis.fields import MEDIA_EXAMPLE, TAG, MediaOutput, media_json
from whatsapp.wire.errors import Code


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
        return Response(media_json(selectors.own(account=request.user, media_id=media_id)))
