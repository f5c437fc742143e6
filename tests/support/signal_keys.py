"""Keys and signatures as a libsignal client makes them, for tests of ``/keys``.

An identity is an Ed25519 key pair seen as one of X25519: then an ordinary Ed25519 signature is an XEdDSA signature, once the sign
of the public point stands in its last bit (as libsignal has it). So signing needs no arithmetic of our own that the code under
test could share a mistake with; ``tests/accounts/test_curve.py`` holds libsignal's own vector.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

_ids = itertools.count(secrets.randbelow(1_000_000) + 1)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class IdentityPair:
    def __init__(self, seed: bytes = b"") -> None:
        seed = seed or secrets.token_bytes(32)
        self._signing = Ed25519PrivateKey.from_private_bytes(seed)
        self.sign_bit = self._signing.public_key().public_bytes_raw()[31] >> 7
        private = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
        self.public = b"\x05" + private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        signature = bytearray(self._signing.sign(message))
        signature[63] |= self.sign_bit << 7
        return bytes(signature)

    def signed(self, public: bytes, key_id: int | None = None) -> dict[str, Any]:
        return {**key(public, key_id), "signature": text(self.sign(public))}


def key(public: bytes, key_id: int | None = None) -> dict[str, Any]:
    return {"keyId": next(_ids) if key_id is None else key_id, "publicKey": text(public)}


def new_public() -> bytes:
    return b"\x05" + X25519PrivateKey.generate().public_key().public_bytes_raw()


def new_kyber() -> bytes:
    return b"\x08" + MLKEM1024PrivateKey.generate().public_key().public_bytes_raw()


def keys(
    identity: IdentityPair, *, classic: int = 0, post_quantum: int = 0, last: bool = False, **fields: Any
) -> dict[str, Any]:
    """A body for ``POST /keys``."""
    body: dict[str, Any] = {
        "identityKey": text(identity.public),
        "signedPreKey": identity.signed(new_public()),
        "preKeys": [key(new_public()) for _ in range(classic)],
        "registrationId": 4711,
    }
    if post_quantum:
        body["pqPreKeys"] = [identity.signed(new_kyber()) for _ in range(post_quantum)]
    if last:
        body["lastResort"] = identity.signed(new_kyber())
    return {**body, **fields}
