"""How PINs are stored: Argon2id (RFC 9106) over an HMAC under ``SECRET_KEY``.

A PIN may have six digits, a million possibilities, so no hash alone protects a copy of the table; the key does, which is not
in it. Argon2id bounds what somebody who has both can try. ``SECRET_KEY_FALLBACKS`` still open what an earlier key made.

A hash takes memory and tens of milliseconds on purpose, so few of them run at once in a process, whoever asks.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from django.conf import settings

from accounts.errors import Refused
from whatsapp.wire.errors import Code

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32

_room = threading.BoundedSemaphore(settings.PIN_AT_ONCE)


@contextmanager
def _turn() -> Iterator[None]:
    """One of the hashes that run at once. Raises :class:`Refused` (``unavailable``) when none ends in time."""
    if not _room.acquire(timeout=settings.PIN_WAIT_MS / 1000):
        raise Refused(Code.UNAVAILABLE, "Too busy to look at PINs now; try again.", retry_after_ms=2_000)
    try:
        yield
    finally:
        _room.release()


def _hasher() -> PasswordHasher:
    return PasswordHasher(
        time_cost=settings.PIN_PASSES,
        memory_cost=settings.PIN_MEMORY_KIB,
        parallelism=1,
        hash_len=_HASH_BYTES,
        salt_len=_SALT_BYTES,
        type=Type.ID,
    )


def _keyed(pin: str, account_id: str, secret: str) -> bytes:
    text = f"pin:{account_id}:{pin}".encode()
    return hmac.digest(secret.encode(), text, hashlib.sha256)


def make(pin: str, *, account_id: str) -> str:
    """What is stored of a PIN. Raises :class:`Refused` (``unavailable``)."""
    with _turn():
        return _hasher().hash(_keyed(pin, account_id, settings.SECRET_KEY))


class Comparison(NamedTuple):
    right: bool
    stale: bool  # it is right, and was made under an earlier key or with other parameters: make it anew


def compare(stored: str, pin: str, *, account_id: str) -> Comparison:
    """Whether a PIN is the stored one; the same work for all that are not. Raises :class:`Refused` (``unavailable``)."""
    with _turn():
        for turn, secret in enumerate([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]):
            try:
                _hasher().verify(stored, _keyed(pin, account_id, secret))
            except (VerificationError, InvalidHashError):
                continue
            return Comparison(True, turn > 0 or _hasher().check_needs_rehash(stored))
    return Comparison(False, False)
