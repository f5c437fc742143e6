"""``PUT /media/parts/<key>``: a part of a presigned upload into the local folder, from who has its signed address
(:mod:`media.storage.signing`). It answers as S3's ``UploadPart`` does: 200 and the ``ETag`` of the part.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from accounts.errors import Refused
from accounts.rest.problems import problem
from media.apis.receiving import place, taken
from media.storage import NotStored, StorageUnavailable, WrongParts, signing, storage
from media.storage.local import Local
from whatsapp.infra.clock import now_ms
from whatsapp.infra.streaming import Cut, streamed
from whatsapp.wire.errors import Code


@csrf_exempt  # nobody but who has the address may, and no cookie is looked at
def part(request: HttpRequest, key: str) -> HttpResponse:
    """The view: 200, 400 (cut short), 403 (the address is not good any more, or never was, or is for another size), 404 (its
    upload has ended), 405, 501, 503."""
    if request.method != "PUT":
        return problem(Code.BAD_REQUEST, "Only PUT.", status=405)
    kept = storage()
    if not isinstance(kept, Local):
        return problem(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    try:
        link = signing.verify_part(request.path, request.META.get("QUERY_STRING", ""), now_ms())
    except signing.BadLink:
        return problem(Code.FORBIDDEN, "This address is not good any more; ask for a new one.")
    # As a bucket: the length belongs to what was signed.
    if request.META.get("CONTENT_LENGTH", "") != str(link.size):
        return problem(Code.FORBIDDEN, f"This address is for a body of {link.size} bytes.")
    try:
        taken()
        with place(link.key):
            stored = kept.take_part(link, (streamed(request) or request).read)
    except Refused as error:
        return problem(error.code, error.message, retry_after_ms=error.retry_after_ms)
    except (Cut, WrongParts):
        return problem(Code.BAD_REQUEST, "The part came to no end; send it again.")
    except NotStored:
        return problem(Code.NOT_FOUND, "There is no such upload any more.")
    except StorageUnavailable:
        return problem(Code.UNAVAILABLE, "The storage does not answer; try again later.")
    return HttpResponse(status=200, headers={"ETag": stored.etag})
