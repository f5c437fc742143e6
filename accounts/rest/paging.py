"""Cursor pages: ``?after=&limit=`` in, ``{items, next?}`` out."""

from __future__ import annotations

import uuid
from typing import Any, Final

from rest_framework.request import Request

from accounts.errors import Refused
from whatsapp.wire.errors import Code

MAX_INT: Final = 2**53 - 1


def _bad(name: str, text: str) -> Refused:
    return Refused(Code.BAD_REQUEST, f"{name}: {text}", details={"field": name})


def whole_number(request: Request, name: str, default: int, *, low: int = 0, high: int = MAX_INT) -> int:
    """A number of the query string. Raises :class:`Refused` (``bad_request``) outside ``low … high``."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    # isdigit alone lets other scripts' digits through.
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or not low <= int(text) <= high:
        raise _bad(name, f"must be a whole number from {low} to {high}")
    return int(text)


def page_limit(request: Request, default: int = 100, maximum: int = 500) -> int:
    """``limit``; a greater one is taken as the maximum."""
    return min(whole_number(request, "limit", default, low=1), maximum)


def id_cursor(request: Request) -> str:
    """``after`` as an id, "" when absent."""
    text = request.query_params.get("after", "")
    if not text:
        return ""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise _bad("after", "is not a cursor of this list") from None


def page(items: list[dict[str, Any]], limit: int, cursor: str) -> dict[str, Any]:
    """A page of ``items``, read with one more than ``limit``; ``cursor`` is the key from which the next one continues."""
    if len(items) <= limit:
        return {"items": items}
    kept = items[:limit]
    return {"items": kept, "next": str(kept[-1][cursor])}
