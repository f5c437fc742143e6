from __future__ import annotations

from typing import Final

from rest_framework.request import Request

from accounts.errors import Refused
from whatsapp.wire.errors import Code

HEADER: Final = "X-Idempotency-Key"
MAX_LENGTH: Final = 128


def idempotency_key(request: Request) -> str:
    """The client's name for this request, "" when it gave none. Raises :class:`Refused` (``bad_request``) when it is too long."""
    key: str = request.headers.get(HEADER, "")
    if len(key) > MAX_LENGTH:
        raise Refused(Code.BAD_REQUEST, f"{HEADER} has at most {MAX_LENGTH} characters.")
    return key
