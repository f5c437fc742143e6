"""Public keys and signatures as libsignal has them, checked before anybody builds a session on them.

A key of Curve25519 is 33 bytes: 0x05, then the u-coordinate (RFC 7748). A post-quantum key is 1,569 bytes: 0x08, then a public
key of Kyber1024, which is laid out as one of ML-KEM-1024 (FIPS 203). Signatures are XEdDSA in libsignal's form: the sign of the
Edwards point is not 0 but the highest bit of the signature (signal.org/docs/specifications/xeddsa; libsignal's curve25519.rs).

A verification is an ordinary one of Ed25519 (RFC 8032) by ``cryptography``, under the birational image of the key; here is only
the arithmetic of public numbers that takes a key there, so nothing has to be constant in time.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PublicKey

KEY_BYTES: Final = 33
KYBER_BYTES: Final = 1_569
SIGNATURE_BYTES: Final = 64

_CURVE: Final = 0x05
_KYBER1024: Final = 0x08
_P: Final = 2**255 - 19
_A: Final = 486_662
#: u of the points whose order divides 8, on the curve and on its twist: whatever is multiplied with them, an attacker knows what
#: comes out (RFC 7748, section 6.1; the list is that of cr.yp.to/ecdh.html, reduced).
_LOW_ORDER: Final = frozenset(
    (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
    )
)


class BadKey(ValueError):
    """What the key is not."""


def check_key(key: bytes) -> None:
    """A public key of Curve25519: of the curve and not of its twist, of no small order, written in the one way there is.

    Raises :class:`BadKey`.
    """
    if len(key) != KEY_BYTES or key[0] != _CURVE:
        raise BadKey("is not 0x05 and the 32 bytes of a key of Curve25519")
    u = int.from_bytes(key[1:], "little")
    if u >= _P:
        raise BadKey("is not a reduced coordinate")
    if u in _LOW_ORDER:
        raise BadKey("is a point of small order")
    if pow(u * (u * u + _A * u + 1), (_P - 1) // 2, _P) != 1:
        raise BadKey("is no point of the curve")


def check_kyber_key(key: bytes) -> None:
    """A public key of Kyber1024 with reduced coefficients (FIPS 203, section 7.2). Raises :class:`BadKey`."""
    if len(key) != KYBER_BYTES or key[0] != _KYBER1024:
        raise BadKey("is not 0x08 and the 1568 bytes of a key of Kyber1024")
    try:
        MLKEM1024PublicKey.from_public_bytes(key[1:])
    except ValueError:
        raise BadKey("is no key of Kyber1024") from None


class Verifier:
    """Verifies signatures of one identity key, which :func:`check_key` has passed."""

    def __init__(self, identity_key: bytes) -> None:
        u = int.from_bytes(identity_key[1:], "little")
        # The birational map of RFC 7748, section 4.1; u = -1 has small order.
        y = (u - 1) * pow(u + 1, -1, _P) % _P
        self._points = [
            Ed25519PublicKey.from_public_bytes((y | sign << 255).to_bytes(32, "little")) for sign in (0, 1)
        ]

    def is_good(self, signature: bytes, message: bytes) -> bool:
        if len(signature) != SIGNATURE_BYTES:
            return False
        last = signature[-1]
        try:
            self._points[last >> 7].verify(signature[:-1] + bytes((last & 0x7F,)), message)
        except InvalidSignature:
            return False
        return True
