"""Envelopes: the key of one message for one device each, by that device's Signal session.

The log keeps all of a message as one blob beside its content: a msgpack map, device (16 bytes) → [registration id, type,
content]. It is made once, where the message comes in, and sliced for each device where the message goes out. No device is
given another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from whatsapp.wire import frames, ids

Blob = Mapping[bytes, msgspec.Raw]

_TYPES: tuple[frames.EnvelopeType, ...] = ("prekey", "message")  # stored by their place: append only
_PLACES = {name: place for place, name in enumerate(_TYPES)}

_encode = msgspec.msgpack.Encoder().encode
_open = msgspec.msgpack.Decoder(dict[bytes, msgspec.Raw]).decode
_one = msgspec.msgpack.Decoder(tuple[int, int, bytes]).decode


class Seal(NamedTuple):
    """What a sender says of whom a message is encrypted for."""

    envelopes: Sequence[frames.Envelope]  # no device twice; empty: none was given
    member_hash: str = ""  # see :func:`member_hash`


def pack(envelopes: Sequence[frames.Envelope]) -> bytes | None:
    """The blob of these envelopes, None for none."""
    if not envelopes:
        return None
    return _encode(
        {
            ids.to_bytes(one.device_id): (one.registration_id, _PLACES[one.type], one.content)
            for one in envelopes
        }
    )


def unpack(blob: bytes) -> Blob:
    """The envelopes of a blob by device, not yet decoded. Raises ``msgspec.DecodeError`` for anything else."""
    return _open(blob)


def named(blob: bytes | None) -> list[str]:
    """The devices that have an envelope in it."""
    return [ids.to_text(device) for device in _open(blob)] if blob else []


def envelope_of(blob: Blob, user: str, device: str) -> frames.Envelope | None:
    """The envelope of this device of this user, if there is one."""
    raw = blob.get(ids.to_bytes(device))
    if raw is None:
        return None
    registration, place, content = _one(raw)
    return frames.Envelope(user, device, registration, _TYPES[place], content)


def member_hash(users: Sequence[str] | frozenset[str]) -> str:
    """SHA-256 over the users' ids, 16 bytes each, sorted: 64 lower-case hexadecimal digits. docs/wire.md has an example."""
    return sha256(b"".join(sorted(map(ids.to_bytes, users)))).hexdigest()
