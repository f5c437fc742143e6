"""Addresses of the local folder, signed, for a while: of objects to fetch, the same for some minutes, and of parts to put.

``/media/blobs/<key>?e=<seconds since the epoch>&t=<media type>&f=<file name>&s=<signature>``,
``/media/parts/<key>?e=<…>&u=<upload>&n=<part>&l=<bytes>&s=<signature>``. The signature is an HMAC-SHA256 of all of it under a key
derived from SECRET_KEY, another one for each of the two; those of SECRET_KEY_FALLBACKS are good as well.
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
PARTS = "/media/parts/"
#: Seconds for which an address stays the same, unless it is meant to live for less.
STEADY_S = 300
_SALT = "media.storage.signing"
_PARTS_SALT = "media.storage.signing.parts"
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


@dataclass(frozen=True, slots=True)
class PartLink:
    """The same of an address to put a part."""

    key: str
    token: str
    number: int
    size: int


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
    return _signed(PREFIX, key, fields, _SALT)


def verify_signed(path: str, query: str, now_ms: int) -> Link:
    """What an address says: ``path`` and ``query`` as they came (the query without ``?``). Raises :class:`BadLink`."""
    key, given = _verified(PREFIX, path, query, ("e", "t", "f"), _SALT, now_ms)
    if "t" not in given:
        raise BadLink("malformed")
    return Link(key, given["t"], given.get("f"), int(given["e"]))


def signed_part_path(key: str, token: str, number: int, size: int, *, expires_s: int, now_ms: int) -> str:
    """Path and query."""
    until = now_ms // 1000 + expires_s
    return _signed(
        PARTS, key, [("e", str(until)), ("u", token), ("n", str(number)), ("l", str(size))], _PARTS_SALT
    )


def verify_part(path: str, query: str, now_ms: int) -> PartLink:
    """As :func:`verify_signed`."""
    key, given = _verified(PARTS, path, query, ("e", "u", "n", "l"), _PARTS_SALT, now_ms)
    try:
        return PartLink(key, given["u"], int(given["n"]), int(given["l"]))
    except (ValueError, KeyError):
        raise BadLink("malformed") from None


def _signed(prefix: str, key: str, fields: list[tuple[str, str]], salt: str) -> str:
    signature = next(_signatures(names.check(key), fields, salt))
    return f"{prefix}{key}?{urlencode([*fields, ('s', signature)], quote_via=quote)}"


def _verified(
    prefix: str, path: str, query: str, allowed: Sequence[str], salt: str, now_ms: int
) -> tuple[str, dict[str, str]]:
    """Key and fields of an address. Raises :class:`BadLink`."""
    try:
        fields = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=8
        )
        key = names.check(path.removeprefix(prefix)) if path.startswith(prefix) else ""
        given = dict(fields)
        known = [(name, given[name]) for name in allowed if name in given]
        if not key or len(fields) != len(known) + 1:
            raise ValueError("other fields than ours")
        # Compared with all of them: how long it takes says nothing.
        right = [constant_time_compare(given["s"], one) for one in _signatures(key, known, salt)]
        until = int(given["e"])
    except (ValueError, KeyError):
        raise BadLink("malformed") from None
    if not any(right):
        raise BadLink("the signature does not match")
    if now_ms >= until * 1000:
        raise BadLink("expired")
    return key, given


def _signatures(key: str, fields: Sequence[tuple[str, str]], salt: str) -> Iterator[str]:
    """By today's secret, then by earlier ones."""
    message = "\n".join([key, urlencode(fields, quote_via=quote)])
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        digest = salted_hmac(salt, message, secret=secret, algorithm="sha256").digest()
        yield base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
