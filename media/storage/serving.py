"""``GET /media/blobs/<key>``: objects of the local folder, to who has a signed address (:mod:`media.storage.signing`).

Ranges, validators and caching as RFC 9110 (sections 13 and 14) has them, one range a request; more than one is answered with
the whole. Nothing is read into memory beyond :data:`PIECE`, and whatever the bytes are, no browser runs them: the media type is
that of the signed address, sniffing is off, and the page is a sandbox without an origin.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import http_date, parse_http_date_safe

from accounts.rest.problems import problem
from media.storage import NotStored, StorageUnavailable, signing, storage
from media.storage.local import Local, tag
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

#: Bytes read at a time, in a thread.
PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src 'self'; sandbox"


async def blob(request: HttpRequest, key: str) -> HttpResponseBase:
    """The view: 200, 206, 304, 403 (the address is not good any more, or never was), 404, 405, 416, 503."""
    if request.method not in ("GET", "HEAD"):
        return problem(Code.BAD_REQUEST, "Only GET and HEAD.", status=405)
    kept = storage()
    now = now_ms()
    if not isinstance(kept, Local):
        return problem(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    try:
        link = signing.verify_signed(request.path, request.META.get("QUERY_STRING", ""), now)
    except signing.BadLink:
        return problem(Code.FORBIDDEN, "This address is not good any more; ask for a new one.")
    try:
        file = await asyncio.to_thread(kept.open, link.key)
    except NotStored:
        return problem(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
    except (OSError, StorageUnavailable):
        return problem(Code.UNAVAILABLE, "The storage does not answer; try again later.")
    response = _answer(request, file, os.fstat(file.fileno()))
    for name, value in {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={max(0, link.until_s - now // 1000)}, immutable",
        "Content-Disposition": signing.disposition(link.media_type, link.filename),
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Resource-Policy": "cross-origin",  # the signature lets in, not who embeds it
        "X-Content-Type-Options": "nosniff",
    }.items():
        response.headers[name] = value
    if response.status_code in (200, 206):
        response.headers["Content-Type"] = link.media_type
    return response


def _answer(request: HttpRequest, file: BinaryIO, state: os.stat_result) -> HttpResponseBase:
    """Closes the file, or gives it to the answer."""
    size, etag, modified = state.st_size, tag(state), http_date(state.st_mtime)
    common = {"ETag": etag, "Last-Modified": modified}
    if _matches(request.headers.get("If-None-Match", ""), etag):
        file.close()
        return HttpResponse(status=304, headers=common)
    found = _range(request, size, etag, state.st_mtime)
    if found is None:
        start, end, status = 0, size, 200
    elif found[0] >= size:
        file.close()
        refusal = problem(Code.BAD_REQUEST, "There are no such bytes.", status=416)
        refusal.headers["Content-Range"] = f"bytes */{size}"
        return refusal
    else:
        (start, end), status = found, 206
        common["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    common["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        file.close()
        return HttpResponse(status=status, headers=common)
    return StreamingHttpResponse(_Pieces(file, start, end), status=status, headers=common)


def _matches(field: str, etag: str) -> bool:
    """``If-None-Match``: weak comparison (RFC 9110, 13.1.2)."""
    return field.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in field.split(","))


def _range(request: HttpRequest, size: int, etag: str, mtime: float) -> tuple[int, int] | None:
    """First byte and the one after the last; None: the whole. A first byte of ``size`` or more: there is no such range."""
    field = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or field is None:  # Range is for GET alone
        return None
    condition = request.headers.get("If-Range", "").strip()
    if condition and condition != etag and parse_http_date_safe(condition) != int(mtime):
        return None
    first, last = field.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return int(first), min(size, int(last) + 1) if last else size
    if not last:
        return None
    return (max(0, size - int(last)), size) if int(last) else (size, size)


class _Pieces:
    """A piece of a file for an asynchronous answer, which closes it."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._end = file, start, end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        while position < self._end:
            data = await asyncio.to_thread(self._read, position, min(PIECE, self._end - position))
            if not data:
                raise OSError("the file ended early")
            yield data
            position += len(data)

    def _read(self, position: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, position)

    def close(self) -> None:
        self._file.close()
