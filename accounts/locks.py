"""Locks under which something is written: of an account, or of what has a keyed hash and no row."""

from __future__ import annotations

from typing import Final

from django.db import connection

from accounts.errors import Refused
from accounts.models import Account
from whatsapp.wire.errors import Code

_ALONE: Final = "SELECT pg_advisory_xact_lock(%s)"
_SHARED: Final = "SELECT pg_advisory_xact_lock_shared(%s)"


def lock_account(account: Account) -> Account:
    """Its row, read anew. "No key": rows that refer to the account are written meanwhile. Call it inside a transaction.

    Raises :class:`Refused` (``not_found``): the account has ended since the request was let in. What would be written now, nobody
    would take away again.
    """
    found = Account.objects.select_for_update(no_key=True).filter(pk=account.pk, retired_at=None).first()
    if found is None:
        raise ended()
    return found


def lock_hash(hashed: bytes, *, shared: bool = False) -> None:
    """Until the end of the transaction nobody else has the lock of this hash; if it is ``shared``, nobody has it who does not
    share it. Waits for who has it."""
    with connection.cursor() as cursor:
        cursor.execute(_SHARED if shared else _ALONE, [_key(hashed)])


def try_lock_hash(hashed: bytes) -> bool:
    """As :func:`lock_hash`, but says no at once when somebody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_key(hashed)])
        return bool(cursor.fetchone()[0])


def _key(hashed: bytes) -> int:
    return int.from_bytes(hashed[:8], signed=True)


def ended() -> Refused:
    return Refused(Code.NOT_FOUND, "This account has ended.")
