"""Writes and checks of the second factor. All of it fails closed.

The authenticator's key is sealed with AES-256-GCM under a key derived from ``SECRET_KEY``; backup codes are stored as
HMAC. ``SECRET_KEY_FALLBACKS`` still open what an earlier key sealed. A code counts once: the time step of the last accepted
one is kept (RFC 6238, section 5.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from typing import Any, Final
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction
from django_otp.oath import hotp

from accounts import limits
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff.models import Authenticator, BackupCode

KEY_BYTES: Final = 20  # RFC 4226, section 4: at least 128 bits, 160 recommended
STEP_S: Final = 30
DIGITS: Final = 6
#: Steps before and after now that are accepted, for clocks that differ.
TOLERANCE: Final = 1
BACKUP_CODES: Final = 10
_BACKUP_BYTES: Final = 10  # 80 bits: 16 letters and digits of base32
_NONCE: Final = 12
QUARTER_MS: Final = 900_000


class AlreadyEnrolled(Exception):
    """The member of staff has an authenticator meanwhile."""


def _keys(purpose: str) -> list[bytes]:
    known = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hmac.digest(key.encode(), f"staff.{purpose}".encode(), hashlib.sha256) for key in known]


def seal(key: bytes, user_id: int) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(_keys("authenticator")[0]).encrypt(nonce, key, str(user_id).encode())


def unseal(sealed: bytes, user_id: int) -> bytes | None:
    """The key; None when no known ``SECRET_KEY`` opens it: then a superuser resets the second factor."""
    for secret in _keys("authenticator"):
        try:
            return AESGCM(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], str(user_id).encode())
        except (InvalidTag, ValueError):
            continue
    return None


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def key_text(key: bytes) -> str:
    """The key as people type it: base32 in groups of four."""
    text = base64.b32encode(key).decode().rstrip("=")
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def key_uri(key: bytes, name: str) -> str:
    """What the QR code says (Key Uri Format of the authenticator apps)."""
    issuer = settings.STAFF_ISSUER
    query = {
        "secret": base64.b32encode(key).decode().rstrip("="),
        "issuer": issuer,
        "digits": DIGITS,
        "period": STEP_S,
    }
    return f"otpauth://totp/{quote(issuer)}:{quote(name)}?{urlencode(query, quote_via=quote)}"


def code_at(key: bytes, step: int) -> str:
    return f"{hotp(key, step, digits=DIGITS):0{DIGITS}}"


def now_step() -> int:
    return int(time.time()) // STEP_S


def _accepted_step(key: bytes, code: str, after: int) -> int | None:
    found = None
    for step in range(now_step() - TOLERANCE, now_step() + TOLERANCE + 1):
        if hmac.compare_digest(code_at(key, step), code) and step > after:
            found = step
    return found


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()


def _digest(code: str, key: bytes) -> bytes:
    return hmac.digest(key, code.encode(), hashlib.sha256)


def count_attempt(user: User) -> None:
    """Raises :class:`Refused` (``rate_limited``) when too many codes were tried. Counted before the code is looked at."""
    now = now_ms()
    subject = str(user.pk)
    limits.count(
        scope="staff_code",
        subject=subject,
        limit=LIMITS.staff_codes_per_quarter,
        window_ms=QUARTER_MS,
        now=now,
    )
    limits.count(
        scope="staff_code_day",
        subject=subject,
        limit=LIMITS.staff_codes_per_day,
        window_ms=limits.DAY_MS,
        now=now,
    )


def authenticator_of(user: User) -> Authenticator | None:
    return Authenticator.objects.filter(user=user, confirmed=True).first()


def backup_codes_left(user: User) -> int:
    return BackupCode.objects.filter(user=user).count()


def verify(*, user: User, code: str) -> Authenticator | None:
    """The authenticator that the code proves, by itself or by a backup code; None for a wrong one.

    Raises :class:`Refused` (``rate_limited``). Two requests with one code: the second is wrong.
    """
    count_attempt(user)
    code = _plain(code)
    with transaction.atomic():
        found = Authenticator.objects.select_for_update().filter(user=user, confirmed=True).first()
        if found is None:
            return None
        if len(code) == DIGITS and code.isascii() and code.isdigit():
            key = unseal(bytes(found.secret), user.pk)
            step = None if key is None else _accepted_step(key, code, found.last_step)
            if step is None:
                return None
            found.last_step = step
            found.save(update_fields=["last_step"])
            return found
        digests = [_digest(code, key) for key in _keys("backup")]
        used, _ = BackupCode.objects.filter(user=user, digest__in=digests).delete()
        return found if used else None


def enrol(*, user: User, key: bytes, code: str) -> tuple[Authenticator, list[str]] | None:
    """Make ``key`` the authenticator of somebody who has none, if ``code`` proves that the app holds it; with the backup codes.

    Raises :class:`Refused` (``rate_limited``), :class:`AlreadyEnrolled`.
    """
    count_attempt(user)
    step = _accepted_step(key, _plain(code), -1)
    if step is None:
        return None
    with transaction.atomic():
        get_user_model().objects.select_for_update().get(pk=user.pk)
        if authenticator_of(user) is not None:
            raise AlreadyEnrolled
        made = Authenticator.objects.create(
            user=user,
            name="authenticator",
            confirmed=True,
            secret=seal(key, user.pk),
            last_step=step,
            created_at=now_ms(),
        )
        return made, new_backup_codes(user=user)


def new_backup_codes(*, user: User) -> list[str]:
    """Ten new codes in place of the old ones. Shown once, stored as hashes."""
    codes = [
        base64.b32encode(secrets.token_bytes(_BACKUP_BYTES)).decode().lower() for _ in range(BACKUP_CODES)
    ]
    key = _keys("backup")[0]
    with transaction.atomic():
        get_user_model().objects.select_for_update().get(pk=user.pk)
        BackupCode.objects.filter(user=user).delete()
        BackupCode.objects.bulk_create([BackupCode(user=user, digest=_digest(code, key)) for code in codes])
    return ["-".join(code[i : i + 4] for i in range(0, len(code), 4)) for code in codes]


def reset(*, user: User) -> bool:
    """Forget the second factor: sessions that rest on it are worth nothing at their next request, and the next login enrols
    anew. False if there was none."""
    with transaction.atomic():
        BackupCode.objects.filter(user=user).delete()
        deleted: tuple[int, Any] = Authenticator.objects.filter(user=user).delete()
    return bool(deleted[0])
