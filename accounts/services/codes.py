"""The code of a number: made, stored and guessed at.

Who guesses is one of three. *The asker* comes from the address that asked for this code, or names its installation. *A device*
shows a refresh token of a linked device of the account. All others are *strangers*. Each kind uses up attempts of its own, so
nobody from elsewhere can spend those of the owner; what all of them together may get wrong in a day bounds what guessing can
win (``docs/subsystems/accounts.md``, "Guessing").
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from accounts import limits
from accounts.errors import Refused
from accounts.guards import traffic
from accounts.limits import DAY_MS
from accounts.models import Device, VerificationCode
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_DIGITS: Final = 6
_NO_CODE: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Asker:
    """Where a request comes from: its source address, and the installation that it names (a keyed hash)."""

    address: str
    installation: bytes | None

    @property
    def address_hash(self) -> bytes:
        return limits.subject_hash("asker", self.address)


def _hash(phone: str, code: str) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), f"code:{phone}:{code}".encode(), hashlib.sha256)


def make(*, phone: str, asker: Asker, now: int) -> tuple[str, int]:
    """A new code, which replaces the number's old one, and when it expires (ms). One statement, whatever was there."""
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
    expires_at = now + LIMITS.code_ttl_ms
    row = VerificationCode(
        phone=phone,
        code_hash=_hash(phone, code),
        asker=asker.address_hash,
        installation=asker.installation,
        created_at=now,
        expires_at=expires_at,
    )
    VerificationCode.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["phone"],
        update_fields=[
            "code_hash", "attempts", "stranger_attempts", "asker", "installation", "created_at", "expires_at"
        ],
    )  # fmt: skip
    return code, expires_at


def check(
    *, phone: str, code: str, asker: Asker, device: Device | None, now: int
) -> VerificationCode | Refused:
    """The row of the code when it is right, otherwise why not. ``device`` is the one that a refresh token proves.

    Call it inside a transaction, and commit a refusal: a wrong guess is counted under the row's lock, so that guesses sent at
    once cannot share an attempt. A right code stays good until :func:`use_up`, but nobody else gets at it meanwhile.
    """
    stored = VerificationCode.objects.select_for_update().filter(phone=phone).first()
    if stored is None or stored.expires_at <= now:
        hmac.compare_digest(_NO_CODE, _hash(phone, code))  # the same work whether there is a code or not
        return _wrong()
    field, counters = _allowance(stored, phone, asker, device)
    if field and getattr(stored, field) >= LIMITS.code_attempts:
        return Refused(
            Code.RATE_LIMITED,
            "Too many wrong codes; ask for a new one.",
            retry_after_ms=stored.expires_at - now,
        )
    wait = max(
        limits.wait(scope=scope, subject=subject, limit=limit, window_ms=DAY_MS, now=now)
        for scope, subject, limit in counters
    )
    if wait:
        return Refused(Code.RATE_LIMITED, "Too many wrong codes today.", retry_after_ms=wait)
    if hmac.compare_digest(bytes(stored.code_hash), _hash(phone, code)):
        return stored
    if field:
        setattr(stored, field, getattr(stored, field) + 1)
        stored.save(update_fields=[field])
    for scope, subject, _ in counters:
        limits.note(scope=scope, subject=subject, now=now)
    return _wrong()


def use_up(stored: VerificationCode) -> None:
    """The code has done its work; in the transaction of :func:`check`."""
    traffic.verified(stored.phone, stored.created_at)
    stored.delete()


def _allowance(
    stored: VerificationCode, phone: str, asker: Asker, device: Device | None
) -> tuple[str, list[tuple[str, str, int]]]:
    """The row's counter of attempts that this guess would use, and the counters of the day (scope, subject, limit)."""
    if device is not None:
        return "", [("wrong_code_device", str(device.pk), LIMITS.wrong_codes_by_device_day)]
    everybody = ("wrong_code", phone, LIMITS.wrong_codes_per_day)
    # Over all numbers: this one is not exact, for the lock is the number's.
    address = ("wrong_code_address", asker.address, LIMITS.wrong_codes_per_address_day)
    named = bytes(stored.installation or b"")
    same_address = hmac.compare_digest(bytes(stored.asker), asker.address_hash)
    if same_address or (named and hmac.compare_digest(named, asker.installation or b"")):
        own = ("wrong_code_asker", f"{phone} {asker.address}", LIMITS.wrong_codes_per_asker_day)
        return "attempts", [own, everybody, address]
    strangers = ("wrong_code_stranger", phone, LIMITS.wrong_codes_by_strangers_day)
    return "stranger_attempts", [strangers, everybody, address]


def _wrong() -> Refused:
    return Refused(Code.UNAUTHENTICATED, "The code is wrong or has expired.")


def for_session(refusal: Refused) -> Refused:
    """The same, for who is signed in: ``unauthenticated`` would tell a client that its session has ended."""
    if refusal.code != Code.UNAUTHENTICATED:
        return refusal
    return Refused(Code.FORBIDDEN, refusal.message, details={"codeWrong": True})
