"""Message franking: what makes a report about an encrypted message verifiable, by whoever holds the keys of the tags alone.

The sender's client commits to what it wrote: HMAC-SHA256 under a random key that travels inside the encrypted body. The server
sees the commitment beside the ciphertext, and says with a tag of its own whose message it came with. Who reports gives what was
opened, the key, the commitment and the tag; then the server knows that this sender's client wrote exactly this, although it has
never read a message. Nothing here reads a clock, a setting or a store. Why so, and the literature: docs/adr/0147.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from whatsapp.wire import ids

KEY: Final = 32  #: bytes of a franking key, no other length: HMAC takes a shorter key for the same key with zeros behind it
COMMITMENT: Final = 32  #: bytes
MAX_KID: Final = 64  #: characters of the id of a server's key

#: What each MAC is for, and its version: no value of one can be taken for the other's.
_COMMITMENT: Final = b"whatsapp.franking.commitment.1\0"
_TAG: Final = b"whatsapp.franking.tag.1\0"
_FORM: Final = 1
_MAC: Final = 32


class Verdict(StrEnum):
    """The values are those of ``ReportedMessage.Verdict``."""

    VERIFIED = "verified"  #: the client of this sender committed to exactly this, in this message
    FORGED = "forged"  #: it did not: something of what was reported was changed or made up
    UNVERIFIABLE = "unverifiable"  #: it came without a commitment, or with a tag of a key that is retired


class Said(NamedTuple):
    """What a commitment covers. Of a file, ``content`` holds the key and the SHA-256 of the encrypted bytes
    (docs/adr/0130), so there is no second file that it would open as well."""

    content: bytes  #: opened, without the franking key
    kind: str = "text"
    media_url: str = ""  #: "": none
    reply_to: str = ""  #: message id; "": none


class Place(NamedTuple):
    """What a tag covers besides the commitment: what the server knows of a message by itself. Ids are UUID text."""

    conversation: str
    message_id: str
    sender: str
    device: str
    at: int  #: the server's time of the message, ms


def commitment(key: bytes, said: Said) -> bytes:
    """The commitment (32 bytes) that a client sends as ``franking``. Raises ValueError for a key that has not 32 bytes.

    HMAC-SHA256(key, domain ‖ kind ‖ replyTo ‖ mediaUrl ‖ content), each of the four behind its length (4 bytes, big-endian) and
    in UTF-8. It hides what was written from who lacks the key, and binds: two messages with one commitment are a collision of
    SHA-256.
    """
    if len(key) != KEY:
        raise ValueError(f"a franking key has {KEY} bytes")
    parts = (said.kind.encode(), said.reply_to.encode(), said.media_url.encode(), said.content)
    return hmac.digest(
        key, _COMMITMENT + b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256"
    )


def tag(keys: Mapping[str, str], franking: bytes, place: Place) -> bytes:
    """The server's tag: that ``franking`` (32 bytes) came with the message at ``place``. ``keys``: kid → secret, the first makes
    it. Layout: 01 ‖ length of kid (1 byte) ‖ kid ‖ HMAC-SHA256(secret, domain ‖ franking ‖ conversation ‖ message ‖ sender ‖
    device ‖ at), ids as 16 bytes, ``at`` as 8, big-endian. Raises ValueError for ids that are none, or another length of
    ``franking``.
    """
    kid, secret = next(iter(keys.items()))
    name = kid.encode()
    return bytes((_FORM, len(name))) + name + _mac(secret, franking, place)


def verify(
    keys: Mapping[str, str],
    said: Said,
    place: Place,
    key: bytes | None,
    franking: bytes | None,
    franking_tag: bytes | None,
) -> Verdict:
    """What a reporter's copy of a message is worth. Raises nothing, whatever it is given.

    ``key``: the franking key from inside the body; ``franking`` and ``franking_tag``: as they came with the message. ``keys``:
    all that tags may still be of. Comparisons take the same time whatever differs. Of an edited message ``said`` is its
    last form.
    """
    if key is None or franking is None or franking_tag is None:
        return Verdict.UNVERIFIABLE
    try:
        kid, mac = _parts(franking_tag)
        wrote = hmac.compare_digest(commitment(key, said), franking)
        secret = keys.get(kid)
        if secret is None:
            # Of an honest reporter's message the key may be retired; without it nothing can be said against anybody.
            return Verdict.UNVERIFIABLE if wrote else Verdict.FORGED
        came = hmac.compare_digest(_mac(secret, franking, place), mac)
    except (ValueError, OverflowError):  # no client was ever given such a one
        return Verdict.FORGED
    return Verdict.VERIFIED if wrote and came else Verdict.FORGED


def _mac(secret: str, franking: bytes, place: Place) -> bytes:
    about = [ids.to_bytes(one) for one in place[:4]]
    # All lengths are fixed, so one text of bytes is one statement.
    if len(franking) != COMMITMENT or any(len(one) != 16 for one in about):
        raise ValueError("a commitment has 32 bytes, and an id 16")
    return hmac.digest(
        secret.encode(), b"".join((_TAG, franking, *about, place.at.to_bytes(8, "big"))), "sha256"
    )


def _parts(franking_tag: bytes) -> tuple[str, bytes]:
    """Key id and MAC. Raises ValueError."""
    size = franking_tag[1] if len(franking_tag) > 1 else 0
    if franking_tag[:1] != bytes((_FORM,)) or len(franking_tag) != 2 + size + _MAC:
        raise ValueError("this is no tag")
    return franking_tag[2 : 2 + size].decode("ascii"), franking_tag[2 + size :]
