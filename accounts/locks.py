"""The lock under which something is written of an account."""

from __future__ import annotations

from accounts.errors import Refused
from accounts.models import Account
from whatsapp.wire.errors import Code


def lock_account(account: Account) -> Account:
    """Its row, read anew. "No key": rows that refer to the account are written meanwhile. Call it inside a transaction.

    Raises :class:`Refused` (``not_found``): the account has ended since the request was let in. What would be written now, nobody
    would take away again.
    """
    found = Account.objects.select_for_update(no_key=True).filter(pk=account.pk, retired_at=None).first()
    if found is None:
        raise ended()
    return found


def ended() -> Refused:
    return Refused(Code.NOT_FOUND, "This account has ended.")
