"""Problem documents (RFC 9457) below Django: what the server itself, or a layer around Django, answers with.

Of the same shape as those of ``accounts/rest/problems.py``, which know everything an API can refuse.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from whatsapp.wire.errors import RETRYABLE

CONTENT_TYPE: Final = b"application/problem+json"


def document(
    code: str, detail: str, status: int, *, retry_after_s: int = 0
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers."""
    fields: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": code in RETRYABLE,
    }
    headers = []
    if retry_after_s:
        fields["retryAfterMs"] = retry_after_s * 1_000
        headers.append((b"retry-after", str(retry_after_s).encode()))
    body = json.dumps(fields).encode()
    return body, [
        (b"content-type", CONTENT_TYPE),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
