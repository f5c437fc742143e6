"""Message franking: what makes a report about an encrypted message verifiable by the server, and by nobody else.

Who writes puts a random key into the encrypted body and sends a commitment beside it: HMAC-SHA256 under that key over what is
written. Who receives it refuses what the commitment does not open, or a sender could write what nobody can report. Literature and
reasons: docs/adr/0147; what is computed: docs/subsystems/franking.md.
"""

from __future__ import annotations

import hmac
import secrets
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import NotFranked

KEY = 32  # bytes of a franking key, no other length: HMAC would take a shorter one for the same key with zeros behind it
FORMAT = 1
_COMMITMENT = b"whatsapp.franking.commitment.1\0"
_NONCE = 12


class Franked(NamedTuple):
    """``body``: what is to be encrypted, the key and the content. ``franking``: the commitment, sent beside it."""

    body: bytes
    franking: bytes
    key: bytes


def commitment(
    key: bytes, content: bytes, *, kind: str = "text", media_url: str = "", reply_to: str = ""
) -> bytes:
    """32 bytes that open to this content, of this kind, with this file, as an answer to this message, under this key, and to
    nothing else. Raises ValueError for a key that has not 32 bytes."""
    if len(key) != KEY:
        raise ValueError(f"a franking key has {KEY} bytes")
    parts = (kind.encode(), reply_to.encode(), media_url.encode(), content)
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, _COMMITMENT + text, "sha256")


def frank(content: bytes, *, kind: str = "text", media_url: str = "", reply_to: str = "") -> Franked:
    """The content with a fresh key, and the commitment to it. Of a file ``content`` is its :class:`Sealed`, in which its key and
    the digest of its encrypted bytes are: so there is no other file that it could mean."""
    key = secrets.token_bytes(KEY)
    franking = commitment(key, content, kind=kind, media_url=media_url, reply_to=reply_to)
    return Franked(bytes([FORMAT]) + key + content, franking, key)


def unwrap(body: bytes) -> tuple[bytes, bytes]:
    """Key and content of what was decrypted. Raises :class:`NotFranked` for a body without a key."""
    if len(body) < 1 + KEY or body[0] != FORMAT:
        raise NotFranked("the body has no franking key")
    return body[1 : 1 + KEY], body[1 + KEY :]


def opens(franking: bytes, key: bytes, content: bytes, *, kind: str, media_url: str, reply_to: str) -> bool:
    """Whether this is what the sender committed to; takes the same time whatever differs."""
    return hmac.compare_digest(
        commitment(key, content, kind=kind, media_url=media_url, reply_to=reply_to), franking
    )


def encrypt(body: bytes, key: bytes) -> bytes:
    """A body under the key of its message (32 random bytes, which go to each device in an envelope): AES-256-GCM, its nonce (12
    random bytes, for an edit is under the same key) in front. GCM binds to no plaintext; the commitment does."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, body, None)


def decrypt(content: bytes, key: bytes) -> bytes:
    """The body. Raises ValueError when this is not the key, or it was changed."""
    try:
        return AESGCM(key).decrypt(content[:_NONCE], content[_NONCE:], None)
    except InvalidTag:
        raise ValueError("the key is another one, or the message was changed") from None
