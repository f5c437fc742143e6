"""XMPP as the load generator writes and reads it (RFC 6120, XEP-0045, XEP-0184, XEP-0198, XEP-0333): bytes, no tree of elements.

An XML parser would cost the generator more than the server that is measured. What is read is what ejabberd writes: attributes in
single quotes, ``>`` never unescaped in one, and no element inside another of its own name.
"""

from __future__ import annotations

import base64

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
BIND = b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>d</resource></bind></iq>"
ENABLE = b"<enable xmlns='urn:xmpp:sm:3'/>"
PRESENCE = b"<presence/>"
REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"
END = b"</stream:stream>"


class BrokenStream(ValueError):
    """What came is no stanza."""


def auth(user: str, password: str) -> bytes:
    """SASL PLAIN (RFC 4616)."""
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>".encode()


def handled(count: int) -> bytes:
    """The answer to ``<r/>``: so many stanzas have come."""
    return b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % count


def message(to: bytes, key: bytes, body: bytes, receipts: bool) -> bytes:
    """A chat message; with ``receipts`` it asks for both and is followed by the request for the server's own acknowledgement."""
    if not receipts:
        return b"<message to='%b' id='%b' type='chat'><body>%b</body></message>" % (to, key, body)
    return (
        b"<message to='%b' id='%b' type='chat'><body>%b</body><request xmlns='urn:xmpp:receipts'/>"
        b"<markable xmlns='urn:xmpp:chat-markers:0'/></message><r xmlns='urn:xmpp:sm:3'/>" % (to, key, body)
    )


def join(room: bytes, nick: bytes) -> bytes:
    """Enter a room without its history (XEP-0045)."""
    return (
        b"<presence to='%b/%b'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
        % (room, nick)
    )


def to_room(room: bytes, key: bytes, body: bytes) -> bytes:
    return b"<message to='%b' id='%b' type='groupchat'><body>%b</body></message>" % (room, key, body)


def received(to: bytes, number: int, key: bytes) -> bytes:
    return (
        b"<message to='%b' id='d%d' type='chat'><received xmlns='urn:xmpp:receipts' id='%b'/></message>"
        % (to, number, key)
    )


def displayed(to: bytes, number: int, key: bytes) -> bytes:
    return (
        b"<message to='%b' id='r%d' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='%b'/></message>"
        % (to, number, key)
    )


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole stanzas of what a stream has sent, without its header, and the rest that is not one yet. Raises
    :class:`BrokenStream`."""
    found: list[bytes] = []
    start, size = 0, len(data)
    while start < size:
        if data[start] != 0x3C:  # "<"
            if not data[start : start + 1].isspace():
                raise BrokenStream(f"text between stanzas: {data[start : start + 60]!r}")
            start += 1
            continue
        head = data.find(b">", start)
        if head < 0:
            break
        if data[head - 1] == 0x2F or data[start + 1] in b"/?":  # <x/>, </stream:stream>, <?xml … ?>
            stop = head + 1
        elif data.startswith(b"<stream:stream ", start):
            start = head + 1
            continue
        else:
            name = data[start + 1 : head].split(b" ", 1)[0]
            close = b"</" + name + b">"
            end = data.find(close, head)
            if end < 0:
                break
            stop = end + len(close)
        if data[start + 1] != 0x3F:
            found.append(data[start:stop])
        start = stop
    return found, data[start:]


def attribute(stanza: bytes, name: bytes) -> bytes:
    """Of the outermost element; empty if it has none of this name."""
    return _attribute(stanza, name, 0)


def body_of(stanza: bytes) -> bytes | None:
    begin = stanza.find(b"<body>")
    return None if begin < 0 else stanza[begin + 6 : stanza.index(b"</body>", begin)]


def receipt_of(stanza: bytes) -> tuple[str, bytes] | None:
    """``("delivered" or "read", id of the message)`` of a receipt or a marker."""
    for status, tag in (("delivered", b"<received "), ("read", b"<displayed ")):
        begin = stanza.find(tag)
        if begin >= 0:
            return status, _attribute(stanza, b"id", begin)
    return None


def _attribute(stanza: bytes, name: bytes, begin: int) -> bytes:
    end = stanza.index(b">", begin)
    key = b" " + name + b"='"
    at = stanza.find(key, begin, end)
    if at < 0:
        return b""
    at += len(key)
    return stanza[at : stanza.index(b"'", at)]
