"""Cursor pages: ``?after=&limit=`` in, ``{items, next?}`` out."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from rest_framework.request import Request

from accounts.errors import Refused
from whatsapp.wire.errors import Code

MAX_INT: Final = 2**53 - 1
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,15}")
_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _bad(name: str, text: str) -> Refused:
    return Refused(Code.BAD_REQUEST, f"{name}: {text}", details={"field": name})


def _given(request: Request, name: str) -> str | None:
    """The parameter's text. Raises :class:`Refused` (``bad_request``) when it is there twice: which one counts?"""
    found = request.query_params.getlist(name)
    if len(found) > 1:
        raise _bad(name, "is given more than once")
    return found[0] if found else None


def whole_number(request: Request, name: str, default: int, *, low: int = 0, high: int = MAX_INT) -> int:
    """A number of the query string. Raises :class:`Refused` (``bad_request``) outside ``low … high``."""
    text = _given(request, name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise _bad(name, f"must be a whole number from {low} to {high}")
    return int(text)


def page_limit(request: Request, default: int = 100, maximum: int = 500) -> int:
    """``limit``; a greater one is taken as the maximum."""
    return min(whole_number(request, "limit", default, low=1), maximum)


def id_cursor(request: Request) -> str:
    """``after`` as an id, "" when absent."""
    text = _given(request, "after")
    if text is None:
        return ""
    if not _ID.fullmatch(text.lower()):
        raise _bad("after", "is not a cursor of this list")
    return text.lower()


def id_parameter(request: Request, name: str) -> uuid.UUID | None:
    """A parameter that is an id, None when absent. Raises :class:`Refused` (``bad_request``) when it is none."""
    text = _given(request, name)
    if text is None:
        return None
    if not _ID.fullmatch(text.lower()):
        raise _bad(name, "is not an id")
    return uuid.UUID(text)


def page(items: list[dict[str, Any]], limit: int, cursor: str) -> dict[str, Any]:
    """A page of ``items``, read with one more than ``limit``; ``cursor`` is the key from which the next one continues."""
    if len(items) <= limit:
        return {"items": items}
    kept = items[:limit]
    return {"items": kept, "next": str(kept[-1][cursor])}
