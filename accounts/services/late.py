"""What is decided about an account that has ended, or has moved to another number: nobody sheds a sanction by that while a case
waits.

Who had the number is known, sealed: of an account that has ended until its erasure is done (``models/erasure.py``), of one that
has moved for 45 days (``models/left_number.py``). Whoever has that number by now, or gets it next, gets the sanction as one that
was in force then (``services/carried.py``), bans too, and for the same time: 45 days from then at most. Not if the number had
changed hands when the account ended.

Of an account that has ended this is part of the sanction's transaction. One that lives may come back to a number at this moment,
so there the number is locked before the account: in a transaction of its own, right behind the commit. Until then the sanction's
row says that it is to be done, and :func:`follow_due` finds what was forgotten.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Erasure, LeftNumber, Sanction
from accounts.services import carried, persons, recycling
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

#: A request that makes an account may have begun before the one that ended the account of before, and clocks differ.
_AT_ONCE_MS: Final = HOUR_MS
#: Sanctions that one run of :func:`follow_due` sees to.
_MOST: Final = 500


def follow(*, account: Account, sanction: Sanction, now: int) -> None:
    """Called in the transaction in which an ended account is sanctioned, with it locked."""
    if holds_until(account, now=now) is None:
        return
    phone = _phone_of(account)
    if not phone:
        log.warning(
            "the number of an account that has ended is not known any more: its sanction ends with it"
        )
        return
    assert account.retired_at is not None
    carried.lock(phone)  # whoever registers the number at this moment sees the row, or is seen
    carried.keep_one(sanction, phone=phone, ended_at=account.retired_at)
    holder = Account.objects.select_for_update(no_key=True).filter(phone=phone).first()
    if holder is not None:
        carried.take_over(account=holder, now=now, but_bans=_moved_to(holder, account.retired_at))


def _moved_to(holder: Account, ended_at: int) -> bool:
    """Whether it had another number when the account ended: nobody with it would have come to this number had the ban been there
    (``numbers.change``), and who has had an account for long is not banned for what somebody else did."""
    return holder.created_at < ended_at - _AT_ONCE_MS


def holds_until(account: Account, *, now: int) -> int | None:
    """Until when (ms) what is decided about an account that has ended holds for who has its number; None: for nobody."""
    if account.retired_at is None:
        return None
    until = account.retired_at + LIMITS.recycled_after_days * DAY_MS
    if until <= now or recycling.changed_hands(account=account, now=account.retired_at):
        return None
    return until


def _phone_of(account: Account) -> str:
    erasure = Erasure.objects.filter(user=account.pk).first()
    if erasure is None or erasure.identifiers is None:
        return ""
    return persons.unseal(bytes(erasure.identifiers), str(account.pk)).phone


# -- numbers that an account has left ----------------------------------------------------------------------------------------


def leave(*, account: Account, phone: str, now: int) -> None:
    """The account, which is locked, goes to the number ``phone``, which is (:func:`carried.lock`), and has its old one still."""
    assert account.phone
    carried.keep(account=account, now=now)
    user = str(account.pk)
    LeftNumber.objects.create(account=account, sealed=persons.seal_number(account.phone, user), left_at=now)
    back = [left.pk for left, number in _left(account, now) if number == phone]
    LeftNumber.objects.filter(pk__in=back).delete()
    carried.come_back(account=account, phone=phone)


def left_until(account: Account, *, now: int) -> int | None:
    """Until when (ms) what is decided about an account holds for who has a number that it has left; None: for nobody."""
    last = _rows(account, now).order_by("-left_at").values_list("left_at", flat=True).first()
    return None if last is None else last + LIMITS.recycled_after_days * DAY_MS


def follow_due(*, now: int) -> int:
    """Sanctions go to numbers that their accounts have left. Returns how many. May run twice at once."""
    waiting = list(Sanction.objects.filter(follows=True).order_by("pk").values_list("pk", "account")[:_MOST])
    for sanction_id, account_id in waiting:
        try:
            _follow_left(sanction_id, account_id, now)
        except Exception:
            log.exception("a sanction could not follow to an earlier number")  # the others have their turn
    return len(waiting)


def _follow_left(sanction_id: uuid.UUID, account_id: uuid.UUID, now: int) -> None:
    with transaction.atomic():
        left = _left(Account(pk=account_id), now)
        phones = sorted({phone for _, phone in left if phone}, key=persons.number_hashes)
        for phone in phones:
            carried.lock(phone)
        # In the order of their keys, as who moves to another number locks them; nobody gets one of these meanwhile.
        both = Account.objects.select_for_update(no_key=True).filter(Q(pk=account_id) | Q(phone__in=phones))
        accounts = {found.pk: found for found in both.order_by("pk")}
        sanction = Sanction.objects.select_for_update().filter(pk=sanction_id, follows=True).first()
        if sanction is None or account_id not in accounts:
            return
        sanction.follows = False
        sanction.save(update_fields=["follows"])
        if not sanction.in_force(now):
            return
        for row, phone in left:
            if phone and phone != accounts[account_id].phone:  # it may have come back meanwhile
                carried.keep_one(sanction, phone=phone, ended_at=row.left_at)
                holder = next((found for found in accounts.values() if found.phone == phone), None)
                if holder is not None:
                    carried.take_over(account=holder, now=now, but_bans=_moved_to(holder, row.left_at))


def _left(account: Account, now: int) -> list[tuple[LeftNumber, str]]:
    rows = _rows(account, now).order_by("left_at")
    return [(row, persons.unseal_number(bytes(row.sealed), str(account.pk))) for row in rows]


def _rows(account: Account, now: int) -> QuerySet[LeftNumber]:
    return LeftNumber.objects.filter(
        account=account.pk, left_at__gt=now - LIMITS.recycled_after_days * DAY_MS
    )
