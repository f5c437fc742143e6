"""An account moves to another number; everything it has stays."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts import events, limits
from accounts.appeals import banned_account
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account, Device, phone_hash
from accounts.residency import home_of
from accounts.services import carried, codes, contacts, late, pins, recycling
from accounts.services.codes import Asker
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

_SCOPE: Final = "number_changes_day"


def change(
    *,
    account: Account,
    device: Device,
    phone: str,
    code: str,
    pin: str | None,
    replace: bool,
    address: str,
) -> Account:
    """Move the account of this device, its primary one, to the number that ``code`` was sent to. Moving to the number that it has
    changes nothing, so a request whose answer was lost can be repeated.

    Who has the number already goes, if ``replace`` says so and no PIN holds it (``recycling.locked_until``): the code would open
    that account anyhow. The home region becomes the new number's; conversations stay where they are. Contacts are told
    (``contacts.tell_new_number``). The old number is free; what the account is sanctioned for holds for who has it next, too
    (``late.py``).

    Raises :class:`Refused`: ``forbidden`` (not the primary device; {codeWrong}; {pinRequired}, {pinWrong}; {until}: a PIN holds
    the number; its account is banned, or was after its end), ``banned`` (this account, meanwhile), ``rate_limited`` (the code,
    the PIN, changes a day), ``conflict`` ({taken}), ``wrong_region`` (the new number's is not held here), ``unavailable``. A code
    refused for anything but itself stays good.
    """
    if not device.primary:
        raise _not_primary()
    if account.phone == phone:
        return account
    home = home_of(phone)
    now = now_ms()
    stored = bytes(device.installation) if device.installation is not None else None
    with transaction.atomic():
        found = codes.check(phone=phone, code=code, asker=Asker(address, stored), device=None, now=now)
        if isinstance(found, Refused):
            refusal: Refused | None = codes.for_session(found)
        else:
            carried.lock(phone)
            account, holder = _lock(account, device, phone)
            if account.is_banned(now):
                raise banned_account(account)  # meanwhile
            if carried.bans(phone, now=now):
                raise _unusable()
            if holder is not None:
                _check_free(holder, replace, now)
            wait = limits.wait(
                scope=_SCOPE,
                subject=str(account.pk),
                limit=limits.limit_for(account, "number_changes_per_day"),
                window_ms=DAY_MS,
                now=now,
            )
            if wait:
                raise Refused(Code.RATE_LIMITED, "Too many changes today.", retry_after_ms=wait)
            # Last: what is counted there must not be undone by a refusal.
            refusal = _check_pin(account, device, pin, now)
            if refusal is None:
                limits.note(scope=_SCOPE, subject=str(account.pk), now=now)
                if holder is not None:
                    recycling.retire(account=holder, now=now)
                old_hash = phone_hash(account.phone or "")
                late.leave(account=account, phone=phone, now=now)
                account.phone, account.region = phone, home
                account.save(update_fields=["phone", "phone_hash", "region"])
                carried.take_over(account=account, now=now)
                codes.use_up(found)
                _tell(account, device, old_hash, now)
                metrics.count("accounts", "number_changed")
    if refusal is not None:
        raise refusal
    return account


def _lock(account: Account, device: Device, phone: str) -> tuple[Account, Account | None]:
    """The account and who has the number now, locked in the order of their keys. Nobody comes to have it meanwhile: that takes
    the code's row, which is locked."""
    wanted = Account.objects.filter(phone=phone).values("pk")
    keys = [account.pk, *(row["pk"] for row in wanted)]
    rows = {row.pk: row for row in Account.objects.select_for_update().filter(pk__in=keys).order_by("pk")}
    own = rows.pop(account.pk)
    linked = Device.objects.select_for_update().filter(pk=device.pk, user=own, unlinked_at=None).first()
    if linked is None or not linked.primary:
        raise _not_primary()
    return own, next((row for row in rows.values() if row.phone == phone), None)


def _check_pin(account: Account, device: Device, pin: str | None, now: int) -> Refused | None:
    stored = pins.of(account=account)
    if stored is None:
        return None
    if not pin:
        raise pins.required()
    return pins.check(stored=stored, pin=pin, by=device, now=now)


def _check_free(holder: Account, replace: bool, now: int) -> None:
    if holder.is_banned(now):
        raise _unusable()
    if pins.of(account=holder) is not None:
        until = recycling.locked_until(account=holder)
        if until > now:
            raise Refused(Code.FORBIDDEN, "The account of this number has a PIN.", details={"until": until})
    if not replace:
        raise Refused(Code.CONFLICT, "This number has an account, which would end.", details={"taken": True})


def _unusable() -> Refused:
    return Refused(Code.FORBIDDEN, "This number cannot be used.")


def _tell(account: Account, device: Device, old_hash: bytes, now: int) -> None:
    data = {"userId": str(account.pk), "phoneNumber": account.phone}
    events.notice(user_id=str(account.pk), kind="number_changed", data=data, but=str(device.pk))
    contacts.tell_new_number(account=account, old_hash=old_hash, now=now)


def _not_primary() -> Refused:
    return Refused(Code.FORBIDDEN, "Only the primary device can do this.")
