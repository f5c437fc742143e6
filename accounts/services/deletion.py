"""``DELETE /me``: who has an account ends it.

A stolen token must not be enough to destroy an account. So the PIN is asked for, and where there is none a code that goes to the
number: what whoever took the number could do anyhow. There is no way back, as nobody could tell the owner who thinks again from
the thief who does (``docs/adr/0152-erasure.md``).
"""

from __future__ import annotations

from django.db import transaction

from accounts.appeals import banned_account
from accounts.errors import Refused
from accounts.models import Account, Device, VerificationCode
from accounts.services import codes, pins, recycling
from accounts.services.codes import Asker
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


def delete_account(
    *, account: Account, device: Device, pin: str | None, code: str | None, address: str
) -> None:
    """End the account of this device; its erasure begins (``services/erasure.py``).

    Raises :class:`Refused`: ``forbidden`` ({pinRequired}, {pinWrong}; {codeRequired}, {codeWrong}), ``rate_limited``,
    ``unauthenticated`` (the device has ended meanwhile), ``banned``, ``unavailable``. A code refused for anything but itself
    stays good.
    """
    now = now_ms()
    refusal: Refused | None = None
    with transaction.atomic():
        found: VerificationCode | None = None
        # The code before the account, as whoever registers locks them; below it is deleted.
        VerificationCode.objects.select_for_update().filter(phone=account.phone).first()
        if pins.of(account=account) is None:
            if not code:
                raise _code_required()
            stored = bytes(device.installation) if device.installation is not None else None
            checked = codes.check(
                phone=account.phone or "", code=code, asker=Asker(address, stored), device=None, now=now
            )
            if isinstance(checked, Refused):
                refusal = codes.for_session(checked)
            else:
                found = checked
        if refusal is None:
            account = _lock(account, device)
            refusal = _check(account, device, pin, found, now)
        if refusal is None:
            VerificationCode.objects.filter(phone=account.phone).delete()
            recycling.retire(account=account, now=now)
            metrics.count("accounts", "deleted")
    if refusal is not None:
        raise refusal


def _check(
    account: Account, device: Device, pin: str | None, found: VerificationCode | None, now: int
) -> Refused | None:
    """Now that the account is locked: whether it has a PIN, or the number that the code was for."""
    stored = pins.of(account=account)
    if stored is not None:
        if not pin:
            raise pins.required()
        return pins.check(stored=stored, pin=pin, by=device, now=now)
    if found is None or found.phone != account.phone:
        raise _code_required()
    return None


def _lock(account: Account, device: Device) -> Account:
    locked = Account.objects.select_for_update().filter(pk=account.pk, retired_at=None).first()
    linked = Device.objects.filter(pk=device.pk, user=account, unlinked_at=None).exists()
    if locked is None or not linked:
        raise Refused(Code.UNAUTHENTICATED, "The device is not linked any more.")
    if locked.is_banned(now_ms()):  # since the request came in: a ban would go with the account
        raise banned_account(locked)
    return locked


def _code_required() -> Refused:
    return Refused(
        Code.FORBIDDEN,
        "A code is needed: ask for one by POST /auth/register with the account's number.",
        details={"codeRequired": True},
    )
