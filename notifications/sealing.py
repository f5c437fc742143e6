"""What a notification says, encrypted for one device: Message Encryption for Web Push (RFC 8291), which is ``aes128gcm`` of
RFC 8188 in one record, with a fresh P-256 key each. Browsers decrypt it themselves; the apps of phones do it with the same keys.

What is sealed is padded to one of :data:`SIZES`, so that its length tells a provider little of what was written."""

from __future__ import annotations

import os
import struct
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Bytes of what is sealed. 2,880 are 3,840 of base64, which leave 256 of the 4,096 that APNs and FCM take for the rest; 4,096 are
#: what every push service takes (RFC 8030, 7.2).
SIZES: Final = (512, 1_024, 2_048, 2_880, 4_096)
#: Of these no bytes of content: salt 16, record size 4, length of the key 1, the key 65, the tag 16, the delimiter 1.
OVERHEAD: Final = 103
#: The most that can be sealed.
LONGEST: Final = SIZES[-1] - OVERHEAD

_CURVE: Final = ec.SECP256R1()
#: Of the header. There is one record, and any size above it will do (RFC 8291, 4): a constant tells nothing.
_RECORD: Final = 4_096


class CannotSeal(ValueError):
    """The keys are none, or the content is too long."""


def sealed_size(length: int) -> int:
    """Bytes that ``length`` bytes of content have when they are sealed. Raises :class:`CannotSeal` above :data:`LONGEST`."""
    for size in SIZES:
        if length <= size - OVERHEAD:
            return size
    raise CannotSeal(f"{length} bytes are more than the {LONGEST} that can be sealed.")


def check_keys(p256dh: bytes, auth: bytes) -> None:
    """Raises :class:`CannotSeal` unless ``p256dh`` is an uncompressed point of P-256 and ``auth`` has 16 bytes."""
    _keys(p256dh, auth)


def seal(content: bytes, p256dh: bytes, auth: bytes) -> bytes:
    """``content`` for the device whose public key (65 bytes, uncompressed) and secret (16 bytes) these are; the body of a push
    with ``Content-Encoding: aes128gcm``, of one of :data:`SIZES`. Raises :class:`CannotSeal`."""
    size = sealed_size(len(content))
    padding = bytes(size - OVERHEAD - len(content))
    return _seal(content, padding, p256dh, auth, ec.generate_private_key(_CURVE), os.urandom(16))


def _seal(
    content: bytes, padding: bytes, p256dh: bytes, auth: bytes, key: ec.EllipticCurvePrivateKey, salt: bytes
) -> bytes:
    theirs = _keys(p256dh, auth)
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = _derive(key.exchange(ec.ECDH(), theirs), auth, b"WebPush: info\0" + p256dh + ours, 32)
    content_key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
    # RFC 8188, 2: the last record's delimiter is 2, zeros behind it are padding
    sealed = AESGCM(content_key).encrypt(nonce, content + b"\x02" + padding, None)
    return salt + struct.pack("!LB", _RECORD, len(ours)) + ours + sealed


def _keys(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey:
    if len(auth) != 16:
        raise CannotSeal(f"The secret has {len(auth)} bytes instead of 16.")
    if len(p256dh) != 65:
        raise CannotSeal(f"The public key has {len(p256dh)} bytes instead of 65.")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)
    except ValueError:
        raise CannotSeal("The public key is no point of P-256.") from None


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
