"""A number becomes a device: a code is sent, and given back."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final, NamedTuple

from django.conf import settings
from django.db import transaction

from accounts import limits, sms
from accounts.errors import Refused, banned
from accounts.models import Account, VerificationCode
from accounts.services.devices import link_device
from accounts.services.sessions import Tokens, known_device, start_session
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_DIGITS: Final = 6
_NO_CODE: Final = bytes(32)


class CodeSent(NamedTuple):
    expires_at: int  # ms since the epoch
    retry_after: int  # ms until another code should be asked for


def _code_hash(phone: str, code: str) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), f"code:{phone}:{code}".encode(), hashlib.sha256)


def send_code(*, phone: str, address: str) -> CodeSent:
    """Send a new code, which replaces the old one. The answer does not tell whether the number has an account.

    Raises :class:`Refused`: ``rate_limited`` by address or by number, ``unavailable`` when the message was not handed over.
    """
    now = now_ms()
    limits.count(
        scope="register_ip",
        subject=address,
        limit=LIMITS.registrations_per_ip_day,
        window_ms=limits.DAY_MS,
        now=now,
    )
    limits.count(
        scope="otp_send", subject=phone, limit=LIMITS.otp_sends_per_hour, window_ms=limits.HOUR_MS, now=now
    )
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
    expires_at = now + LIMITS.code_ttl_ms
    VerificationCode.objects.update_or_create(
        phone=phone,
        defaults={
            "code_hash": _code_hash(phone, code),
            "attempts": 0,
            "created_at": now,
            "expires_at": expires_at,
        },
    )
    try:
        sms.sender().send(to=phone, body=f"Your verification code is {code}. Do not share it with anyone.")
    except sms.SmsUnavailable:
        raise Refused(
            Code.UNAVAILABLE, "The message cannot be sent now; try again.", retry_after_ms=60_000
        ) from None
    return CodeSent(expires_at, limits.HOUR_MS // max(LIMITS.otp_sends_per_hour, 1))


def verify(
    *, phone: str, code: str, device_name: str, registration_id: int | None, refresh_token: str | None
) -> Tokens:
    """Exchange a code for a session: of a new account, a new device of an account, or the device that ``refresh_token`` names.

    Raises :class:`Refused`: ``unauthenticated`` (wrong, expired, or no code: not told apart), ``rate_limited`` (the code's
    attempts are used up), ``banned``, ``limit_exceeded`` (devices).
    """
    now = now_ms()
    with transaction.atomic():
        # Attempts are counted under this lock, so parallel guesses cannot share one; a wrong guess must commit.
        refusal = _check_code(phone=phone, code=code, now=now)
        if refusal is None:
            return _open(
                phone=phone,
                device_name=device_name,
                registration_id=registration_id,
                refresh_token=refresh_token,
                now=now,
            )
    raise refusal


def _check_code(*, phone: str, code: str, now: int) -> Refused | None:
    stored = VerificationCode.objects.select_for_update().filter(phone=phone).first()
    usable = stored is not None and stored.expires_at > now
    if stored is not None and usable and stored.attempts >= LIMITS.code_attempts:
        return Refused(
            Code.RATE_LIMITED,
            "Too many wrong codes; ask for a new one.",
            retry_after_ms=stored.expires_at - now,
        )
    # The same work whether there is a code or not.
    expected = bytes(stored.code_hash) if stored is not None and usable else _NO_CODE
    if hmac.compare_digest(expected, _code_hash(phone, code)) and stored is not None and usable:
        stored.delete()
        return None
    if stored is not None and usable:
        stored.attempts += 1
        stored.save(update_fields=["attempts"])
    return Refused(Code.UNAUTHENTICATED, "The code is wrong or has expired.")


def _open(
    *, phone: str, device_name: str, registration_id: int | None, refresh_token: str | None, now: int
) -> Tokens:
    account, _ = Account.objects.select_for_update().get_or_create(
        phone=phone, defaults={"region": settings.HOME_REGION, "created_at": now}
    )
    if account.is_banned(now):
        raise banned(account.banned_until)
    device = known_device(account=account, refresh_token=refresh_token)
    if device is None:
        device = link_device(account=account, name=device_name, registration_id=registration_id, now=now)
    else:
        device.name = device_name
        if registration_id is not None:
            device.registration_id = registration_id
        device.save(update_fields=["name", "registration_id"])
    return start_session(device=device, now=now)
