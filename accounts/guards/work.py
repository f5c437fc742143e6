"""Proof of work: who asks for a code spends some time of a processor first (hashcash). It makes asking dear for who asks a
thousand times, and costs who asks once a second.

The challenge is a token that holds all there is to know, under a MAC with the number and the address that it was given to:
nothing is stored until one was solved, then its hash for as long as it would be good, so that it is used once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct
from typing import Any, Final

from django.conf import settings

from accounts import limits
from accounts.errors import Refused
from whatsapp.infra.limits import LIMITS

KIND: Final = "proof_of_work"
_HEAD: Final = struct.Struct(">QB16s")  # until (ms), bits, random
_MAC: Final = 16
#: Bytes of the part that the client chooses.
_NONCE_MOST: Final = 32


def issue(*, phone: str, address: str, now: int) -> dict[str, Any]:
    """A challenge for this number from this address: ``{kind, algorithm, seed, bits, expiresAt}``. It is solved by a ``nonce`` of
    1 to 32 ASCII characters for which SHA-256 of ``seed:nonce`` begins with ``bits`` zero bits; the answer is ``seed:nonce``.
    """
    until = now + LIMITS.work_ttl_ms
    head = _HEAD.pack(until, LIMITS.work_bits, os.urandom(16))
    seed = base64.urlsafe_b64encode(head + _mac(head, phone, address)).decode().rstrip("=")
    return {
        "kind": KIND,
        "algorithm": "sha256",
        "seed": seed,
        "bits": LIMITS.work_bits,
        "expiresAt": until,
    }


def accept(answer: str, *, phone: str, address: str, now: int) -> bool:
    """Whether the answer solves a challenge that was given to this number and address, is good still, and was not used; from
    now on it is used."""
    seed, _, nonce = answer.partition(":")
    if not (answer.isascii() and 0 < len(nonce) <= _NONCE_MOST):
        return False
    try:
        token = base64.b64decode(seed + "=" * (-len(seed) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return False
    if len(token) != _HEAD.size + _MAC:
        return False
    head, mac = token[: _HEAD.size], token[_HEAD.size :]
    if not hmac.compare_digest(mac, _mac(head, phone, address)):
        return False
    until, bits, _ = _HEAD.unpack(head)
    if until <= now or not solves(answer, bits):
        return False
    try:
        # By the decoded token: the text of it could be written in other ways.
        limits.count(scope="work", subject=token.hex(), limit=1, window_ms=LIMITS.work_ttl_ms, now=now)
    except Refused:
        return False
    return True


def solves(answer: str, bits: int) -> bool:
    digest = int.from_bytes(hashlib.sha256(answer.encode()).digest())
    return digest >> (256 - bits) == 0


def _mac(head: bytes, phone: str, address: str) -> bytes:
    # What it is for comes first, so that nothing else under this key can be taken for one.
    said = b"work:" + head + f"{phone}:{address}".encode()
    return hmac.digest(settings.SECRET_KEY.encode(), said, hashlib.sha256)[:_MAC]
