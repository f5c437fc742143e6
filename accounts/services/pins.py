"""The PIN of an account: what has to be known besides the code of its number (``docs/subsystems/accounts.md``, "PIN").

Who guesses is one of two. *A device* is signed in, or shows a refresh token of its own. All others got *the code* of the number:
the owner with a new telephone, or who took the number from them. Each has attempts of its own, so whoever has the number cannot
use up those of the owner's devices. Wrong ones are counted by the day and slowed down; none of it lasts longer than a day.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from django.db import transaction

from accounts import events, limits, pin_hash
from accounts.errors import Refused
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Device, Pin
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: A request that set a PIN may be repeated by its device for so long.
_REPEAT_MS: Final = HOUR_MS
_SLOWER: Final = 4


def of(*, account: Account) -> Pin | None:
    return Pin.objects.filter(account=account).first()


def too_easy(pin: str, *, phone: str | None) -> bool:
    """What is tried first: one character repeated, digits or letters in a row, a part of one's own number."""
    steps = {ord(second) - ord(first) for first, second in pairwise(pin)}
    return steps <= {0} or steps <= {1} or steps <= {-1} or pin in (phone or "")


def put(*, account: Account, device: Device, pin: str, current: str | None) -> None:
    """Set the PIN, or change it when ``current`` is right. The first one is set by the primary device. May be repeated by the
    same device for an hour.

    Raises :class:`Refused`: ``bad_request`` (too easy), ``forbidden`` ({pinRequired} or {pinWrong}, or not the primary device),
    ``rate_limited``, ``unavailable``.
    """
    if too_easy(pin, phone=account.phone):
        raise Refused(Code.BAD_REQUEST, "This PIN is too easy to guess.", details={"field": "pin"})
    now = now_ms()
    refusal: Refused | None = None
    with transaction.atomic():
        device = _lock(account, device)
        stored = of(account=account)
        if stored is None:
            if not device.primary:
                raise Refused(Code.FORBIDDEN, "The first PIN is set by the primary device.")
            event = "set"
        else:
            event = "changed"
            own = stored.set_by == device.pk and stored.set_at > now - _REPEAT_MS
            if not current and not own:
                raise required()
            refusal = check(stored=stored, pin=current, by=device, now=now, also=pin if own else "")
            if (
                refusal is None
                and own
                and pin_hash.compare(stored.hash, pin, account_id=str(account.pk)).right
            ):
                return  # set already
        if refusal is None:
            made = pin_hash.make(pin, account_id=str(account.pk))
            values = {"hash": made, "set_at": now, "set_by": device.pk, "failed_at": None}
            Pin.objects.update_or_create(account=account, defaults=values)
            _tell(str(account.pk), event, now, but=device)
    if refusal is not None:
        raise refusal


def remove(*, account: Account, device: Device, current: str | None) -> None:
    """Remove the PIN when ``current`` is right. Where there is none, nothing is asked.

    Raises :class:`Refused`: ``forbidden`` ({pinRequired} or {pinWrong}), ``rate_limited``, ``unavailable``.
    """
    now = now_ms()
    with transaction.atomic():
        device = _lock(account, device)
        stored = of(account=account)
        if stored is None:
            return
        if not current:
            raise required()
        refusal = check(stored=stored, pin=current, by=device, now=now)
        if refusal is None:
            stored.delete()
            _tell(str(account.pk), "removed", now, but=device)
    if refusal is not None:
        raise refusal


def forget(*, account: Account) -> bool:
    """Remove the PIN, by staff; whether there was one. Call it inside a transaction."""
    Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    deleted, _ = Pin.objects.filter(account=account).delete()
    if deleted:
        _tell(str(account.pk), "removed", now_ms())
    return bool(deleted)


def check(*, stored: Pin, pin: str | None, by: Device | None, now: int, also: str = "") -> Refused | None:
    """None when ``pin`` (or ``also``) is right; otherwise why not. ``by`` is the device that a session or a refresh token proves,
    None for somebody who has no more than the code.

    Call it inside a transaction that has locked the account, so that guesses sent at once cannot share an attempt, and commit a
    refusal: a wrong PIN is counted. What may still fail after a right one must not undo the count of that either, or who knows
    a PIN could have hashes computed for nothing. Raises :class:`Refused` (``unavailable``; ``rate_limited`` for too many, right
    or wrong), after which nothing is counted.
    """
    account_id = str(stored.account_id)
    scope, subject = ("wrong_pin", account_id) if by is None else ("wrong_pin_device", str(by.pk))
    wait = _wait(scope, subject, now)
    if wait:
        return Refused(
            Code.RATE_LIMITED, "Too many wrong PINs.", details={"pinRequired": True}, retry_after_ms=wait
        )
    limits.count(
        scope="pin_check",
        subject=f"{scope} {subject}",
        limit=LIMITS.pin_checks_per_hour,
        window_ms=HOUR_MS,
        now=now,
    )
    for given in filter(None, (pin, also)):
        found = pin_hash.compare(stored.hash, given, account_id=account_id)
        if found.right:
            if found.stale:
                stored.hash = pin_hash.make(given, account_id=account_id)
                stored.save(update_fields=["hash"])
            return None
    limits.note(scope=scope, subject=subject, now=now)
    metrics.count("accounts", "wrong_pin")
    if by is None:
        stored.failed_at = now
        stored.save(update_fields=["failed_at"])
        _tell(account_id, "failed", now)
    return Refused(Code.FORBIDDEN, "The PIN is wrong.", details={"pinRequired": True, "pinWrong": True})


def required(**details: int) -> Refused:
    """An account with a PIN was asked for without it."""
    return Refused(Code.FORBIDDEN, "The PIN is needed.", details={"pinRequired": True, **details})


def _wait(scope: str, subject: str, now: int) -> int:
    """How long (ms) until the next guess may come: the more were wrong in the last day, the longer."""
    most = LIMITS.wrong_pins_per_day
    if most <= 0:
        return DAY_MS
    hits = limits.latest(scope=scope, subject=subject, window_ms=DAY_MS, now=now, most=most)
    if len(hits) >= most:
        return max(hits[-1] + DAY_MS - now, 1)
    more = len(hits) - LIMITS.wrong_pins_free
    if more <= 0:
        return 0
    pause = min(LIMITS.wrong_pin_wait_ms * _SLOWER ** (more - 1), LIMITS.wrong_pin_wait_longest_ms)
    return max(hits[0] + pause - now, 0)


def _lock(account: Account, device: Device) -> Device:
    """The account's row serializes what is done with its PIN. Raises :class:`Refused` when the device has ended meanwhile."""
    Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    found = Device.objects.filter(pk=device.pk, user=account, unlinked_at=None).first()
    if found is None:
        raise Refused(Code.UNAUTHENTICATED, "The device is not linked any more.")
    return found


def _tell(user_id: str, event: str, now: int, *, but: Device | None = None) -> None:
    events.notice(
        user_id=user_id,
        kind="pin",
        data={"event": event, "at": now},
        but=str(but.pk) if but is not None else "",
    )
