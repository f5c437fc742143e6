"""``multipart/form-data`` (RFC 7578) whose file goes into the storage while it comes; what it is stands before or behind it."""

from __future__ import annotations

from typing import Any, Final

from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from accounts.errors import Refused
from media.uploads.receiver import Receiver
from whatsapp.infra.streaming import streamed
from whatsapp.wire.errors import Code

FIELD: Final = "file"


class _IntoStorage(FileUploadHandler):
    chunk_size = 262_144

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self._receiver = receiver
        self.media_type = ""
        self.files = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.files += 1
        if self.files > 1 or self.field_name != FIELD:
            raise StopUpload(connection_reset=True)
        self.media_type = self.content_type or ""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._receiver.feed(raw_data)

    def file_complete(self, file_size: int) -> None:
        return None


def read(http: HttpRequest, receiver: Receiver) -> tuple[dict[str, str], str]:
    """Feed the file of a form to ``receiver``; the form's other fields, and the media type of the file ("" if it has none).

    Raises :class:`Refused` (``bad_request``: no such form, not exactly one file ``file``), ``Cut``, and what the receiver
    raises.
    """
    handler = _IntoStorage(receiver)
    try:
        fields, _ = MultiPartParser(http.META, streamed(http) or http, [handler], "utf-8").parse()
    except MultiPartParserError:
        raise Refused(Code.BAD_REQUEST, "The form cannot be read.") from None
    if handler.files != 1:
        raise Refused(Code.BAD_REQUEST, f"A form holds one file, {FIELD}.", details={"field": FIELD})
    return {name: str(fields[name]) for name in fields}, handler.media_type
