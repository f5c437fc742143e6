"""What is decided about an account that has ended: nobody sheds a sanction by ending the account while a case waits.

Who had the number is known until the erasure is done (``models/erasure.py``, sealed). Whoever has that number by now, or gets it
next, gets the sanction as one that was in force when the account ended (``services/carried.py``), bans too, and for the same
time: 45 days from the end of the account at most. Not if the number had changed hands when it ended.
"""

from __future__ import annotations

import logging
from typing import Final

from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Erasure, Sanction
from accounts.services import carried, persons, recycling
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

#: A request that makes an account may have begun before the one that ended the account of before, and clocks differ.
_AT_ONCE_MS: Final = HOUR_MS


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
