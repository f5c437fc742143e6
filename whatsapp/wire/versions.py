"""Which protocol a socket speaks: subprotocol, version header, downgrades.

A client offers ``whatsapp.v3.2.json`` or ``.protobuf`` as WebSocket subprotocols (RFC 6455, section 1.9), in
its order of preference, or the header ``X-WhatsApp-Protocol-Version: 3.2``, or neither: JSON of the newest
version.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from whatsapp.wire.codec import CODECS, JSON, Codec
from whatsapp.wire.downgrades import DOWNGRADES, Downgrade
from whatsapp.wire.frames import Envelope, Frame, Item

HEADER = "X-WhatsApp-Protocol-Version"
OLDEST = (3, 0)
NEWEST = "3.2"

_offer = re.compile(r"whatsapp\.v([0-9]{1,3})\.([0-9]{1,3})\.([a-z]+)").fullmatch
_number = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?").fullmatch


class UpgradeRequired(Exception):
    """Only versions below 3.0 were offered: accept with ``subprotocol``, so that a browser sees it, and
    close 4426."""

    def __init__(self, version: str, subprotocol: str | None) -> None:
        super().__init__(f"protocol version {version} is too old; {OLDEST[0]}.{OLDEST[1]} or newer is needed")
        self.version = version
        self.subprotocol = subprotocol


class Negotiated(NamedTuple):
    codec: Codec
    version: str  # "3.2"; echoed in the header when the client sent it, and ``protocol`` of ``ready``
    subprotocol: str | None  # to accept with; None when none was offered that is spoken here


class DowngradedCodec:
    """A codec that tells an older version what it knows. Events are encoded apart from those of other versions."""

    def __init__(self, codec: Codec, version: str, row: Mapping[type[Frame], Downgrade]) -> None:
        self._codec = codec
        self._row = row
        self.name, self.text = codec.name, codec.text
        self.id = f"{codec.name} {version}"
        self.decode, self.decode_server = codec.decode, codec.decode_server
        self.encode_batch = codec.encode_batch

    def encode(self, frame: Frame) -> bytes:
        """Empty for what this version is not told."""
        downgrade = self._row.get(type(frame))
        said = frame if downgrade is None else downgrade(frame)
        return b"" if said is None else self._codec.encode(said)

    def encode_item(self, event: Item) -> bytes:
        return self.encode(event)

    def with_envelope(self, encoded_message: bytes, envelope: Envelope) -> bytes:
        return self._codec.with_envelope(encoded_message, envelope)


def _codecs() -> dict[tuple[str, str], Codec]:
    return {
        (version, name): DowngradedCodec(codec, version, row) if row else codec
        for version, row in DOWNGRADES.items()
        for name, codec in CODECS.items()
    }


_CODECS: dict[tuple[str, str], Codec] = _codecs()
_BY_ID: dict[str, Codec] = {codec.id: codec for codec in _CODECS.values()}


def codec_by_id(id_: str) -> Codec:
    """For another process that encodes for a socket of this one. Raises KeyError."""
    return _BY_ID[id_]


def negotiate(subprotocols: list[str], header: str | None = None) -> Negotiated:
    """The first subprotocol that is spoken here; else the header's version, a newer one brought down to the
    newest here; else JSON of the newest. Foreign and newer subprotocols are passed over. Raises
    UpgradeRequired.
    """
    too_old: UpgradeRequired | None = None
    for offered in subprotocols:
        match = _offer(offered)
        if match is None:
            continue
        version = f"{int(match[1])}.{int(match[2])}"
        codec = _CODECS.get((version, match[3]))
        if codec is not None:
            return Negotiated(codec, version, offered)
        if (int(match[1]), int(match[2])) < OLDEST:
            too_old = too_old or UpgradeRequired(version, offered)
    if too_old is not None:
        raise too_old
    match = _number(header.strip()) if header else None
    if match is not None:
        pair = (int(match[1]), int(match[2] or 0))
        if pair < OLDEST:
            raise UpgradeRequired(f"{pair[0]}.{pair[1]}", None)
        version = f"{pair[0]}.{pair[1]}"
        version = version if version in DOWNGRADES else NEWEST
        return Negotiated(_CODECS[version, JSON.name], version, None)
    return Negotiated(JSON, NEWEST, None)
