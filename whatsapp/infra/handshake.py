"""The server's side of a WebSocket's opening handshake (RFC 6455, section 4.2), from headers that are parsed already.

Nothing here knows a connection: :func:`asks` and :func:`read` say what a request is, :func:`answer` is the 101. The library
would parse the same head a second time, and that was most of what an upgrade cost.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import NamedTuple

Headers = Sequence[tuple[bytes, bytes]]

#: RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: 16 bytes in base64.
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_BREAK = re.compile(rb"[\r\n\0]")
#: With a body, two readers would not agree on where the frames begin.
_BODY = (b"content-length", b"transfer-encoding")
#: Places of a list. A head has room for thousands, and to look at each would be dear.
_PLACES = 32
_READ = frozenset(
    {
        b"connection",
        b"upgrade",
        b"authorization",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        *_BODY,
    }
)


class Offer(NamedTuple):
    """What a client opens a socket with."""

    key: bytes
    #: As it prefers them.
    subprotocols: list[str]


class Refusal(NamedTuple):
    """Why a request that asks for a WebSocket is no handshake."""

    status: int
    text: str
    #: What the answer says besides.
    header: tuple[bytes, bytes] | None = None


_MALFORMED = Refusal(400, "This is no WebSocket handshake.")
_VERSION = Refusal(426, "Only version 13 of WebSocket is spoken here.", (b"sec-websocket-version", b"13"))
_UPGRADE = Refusal(426, "One upgrade is asked for, to websocket.", (b"upgrade", b"websocket"))


def asks(headers: Headers) -> bool:
    """Whether a request is meant as a handshake, a good one or not; any other upgrade may be ignored (RFC 9110, 7.8)."""
    upgrade, connection = b"", False
    for name, value in headers:
        if name == b"upgrade":
            upgrade = value
        elif name == b"connection":
            value = value.lower()
            places = value.split(b",", _PLACES)
            connection = connection or b"upgrade" in [token.strip(b" \t") for token in places]
    return connection and upgrade.strip(b" \t").lower() == b"websocket"


def read(method: str, version: str, headers: Headers) -> Offer | Refusal:
    """What RFC 6455, section 4.2.1 asks of a request that :func:`asks`; names of headers in lower case.

    Who speaks another version is told ours (section 4.4). ``Host`` and the length of everything are checked before."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _READ:
            found.setdefault(name, []).append(value.strip(b" \t"))
    keys = found.get(b"sec-websocket-key", ())
    if (
        method != "GET"
        or version != "1.1"
        or len(keys) != 1
        or not _KEY.fullmatch(keys[0])
        or len(found.get(b"origin", ())) > 1
        or len(found.get(b"authorization", ())) > 1  # somebody before us may have looked at the other one
        or any(name in found for name in _BODY)
        or _tokens(found.get(b"connection", ())) is None
    ):
        return _MALFORMED
    if found.get(b"sec-websocket-version") != [b"13"]:
        return _VERSION
    if len(found.get(b"upgrade", ())) != 1:
        return _UPGRADE
    subprotocols = _tokens(found.get(b"sec-websocket-protocol", ()))
    return _MALFORMED if subprotocols is None else Offer(keys[0], subprotocols)


def _tokens(values: Iterable[bytes]) -> list[str] | None:
    """The tokens of a header (RFC 9110, section 5.6.1: empty places are passed over); None if one of its lines has none, or
    something that is no token, or too many."""
    tokens: list[str] = []
    for value in values:
        before = len(tokens)
        if value.count(b",") >= _PLACES:
            return None
        for place in value.split(b","):
            token = place.strip(b" \t")
            if token:
                if not _TOKEN.fullmatch(token):
                    return None
                tokens.append(token.decode("ascii"))
        if len(tokens) == before:
            return None
    return tokens


def answer(key: bytes, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The 101 (RFC 6455, section 4.2.2), without extensions. ValueError for a header that would be more than one line."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    ]
    lines += [name + b": " + value for name, value in headers]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("latin-1"))
    if any(_BREAK.search(line) for line in lines[1:]):
        raise ValueError("a header of the answer has an end of line in it")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
