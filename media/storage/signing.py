"""Addresses of objects in the local folder: signed, for a while, the same for some minutes.

``/media/blobs/<key>?e=<seconds since the epoch>&t=<media type>&f=<file name>&s=<signature>``. The signature is an HMAC-SHA256
of all of it under a key derived from SECRET_KEY; those of SECRET_KEY_FALLBACKS are good as well.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from media.storage import names

PREFIX = "/media/blobs/"
#: Seconds for which an address stays the same, unless it is meant to live for less.
STEADY_S = 300
_SALT = "media.storage.signing"
#: Media types that a browser may show in place; all others are saved. None of them runs a script.
_SHOWN = frozenset(
    {"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "video/mp4", "video/webm"}
)
_SHOWN_FAMILIES = ("audio/",)


class BadLink(Exception):
    """The address was made by somebody else, changed, or is too old."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a good address says."""

    key: str
    media_type: str
    filename: str | None
    until_s: int


def window(now_ms: int, expires_s: int) -> tuple[int, int]:
    """When an address that is asked for now was made and when it ends, seconds since the epoch: the same two for everybody who
    asks within the same :data:`STEADY_S` (or ``expires_s``, if that is less), and ``expires_s`` of them are left at least."""
    steady = min(STEADY_S, expires_s)
    if steady < 1:
        raise ValueError("an address lives for a second at least")
    made = now_ms // 1000 // steady * steady
    return made, made + steady + expires_s


def disposition(media_type: str, filename: str | None) -> str:
    """``Content-Disposition`` (RFC 6266): in place for what is safe to show and has no name, saved otherwise."""
    if filename is None:
        shown = media_type in _SHOWN or media_type.startswith(_SHOWN_FAMILIES)
        return "inline" if shown else "attachment"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%/' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def signed_path(key: str, *, expires_s: int, media_type: str, filename: str | None, now_ms: int) -> str:
    """Path and query."""
    _, until = window(now_ms, expires_s)
    fields = [("e", str(until)), ("t", names.check_media_type(media_type))]
    if filename is not None:
        fields.append(("f", filename))
    fields.append(("s", next(_signatures(names.check(key), fields))))
    return f"{PREFIX}{key}?{urlencode(fields, quote_via=quote)}"


def verify_signed(path: str, query: str, now_ms: int) -> Link:
    """What an address says: ``path`` and ``query`` as they came (the query without ``?``). Raises :class:`BadLink`."""
    try:
        fields = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=8
        )
        key = names.check(path.removeprefix(PREFIX)) if path.startswith(PREFIX) else ""
        given = dict(fields)
        known = [(name, given[name]) for name in ("e", "t", "f") if name in given]
        if not key or len(fields) != len(known) + 1:
            raise ValueError("other fields than ours")
        # Compared with all of them: how long it takes says nothing.
        right = [constant_time_compare(given["s"], one) for one in _signatures(key, known)]
        until = int(given["e"])
    except (ValueError, KeyError):
        raise BadLink("malformed") from None
    if not any(right):
        raise BadLink("the signature does not match")
    if now_ms >= until * 1000:
        raise BadLink("expired")
    return Link(key, given["t"], given.get("f"), until)


def _signatures(key: str, fields: Sequence[tuple[str, str]]) -> Iterator[str]:
    """By today's secret, then by earlier ones."""
    message = "\n".join([key, urlencode(fields, quote_via=quote)])
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        digest = salted_hmac(_SALT, message, secret=secret, algorithm="sha256").digest()
        yield base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
