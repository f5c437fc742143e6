"""Other limits for one account or one class of accounts, by staff or by what watches over abuse.

They hold on live sockets within a second, over REST within seconds, and end by themselves. Who did it, and why, is in the row;
what staff did is in the audit log besides.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from django.db import transaction

from accounts import events, own_limits
from accounts.errors import Refused
from accounts.locks import ended
from accounts.models import Account, LimitOverride
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limit_classes import CLASSES
from whatsapp.infra.limit_table import TABLE
from whatsapp.wire.errors import Code

USER: Final = LimitOverride.Scope.USER
CLASS: Final = LimitOverride.Scope.CLASS

#: Rows that one run of :func:`prune` takes.
BATCH: Final = 500
CLASS_NAME: Final = re.compile(r"^[a-z][a-z0-9_-]{0,31}\Z")


def set_override(
    *, scope: str, subject: str, name: str, value: int, until: int | None, reason: str, by: str
) -> LimitOverride:
    """Give one account (``scope`` "user", ``subject`` its id) or one class (``scope`` "class", ``subject`` its name) another
    value of the limit ``name``, until a time (ms; None: for good), in place of an earlier one. ``by``: a name of staff
    or "automatic".

    Raises :class:`Refused`: ``bad_request`` with the ``field`` (``name``: no limit that may be overridden; ``value``: out of its
    bounds; ``until``: past; ``reason``: empty; ``subject``), ``not_found`` (no such account).
    """
    now = now_ms()
    check(name=name, value=value, until=until, reason=reason, now=now)
    row = {"value": value, "until": until, "reason": reason[:500], "made_by": by, "created_at": now}
    with transaction.atomic():
        account = _lock(scope, subject)
        made, _ = LimitOverride.objects.update_or_create(
            scope=scope, subject=str(account.pk) if account else subject, name=name, defaults=row
        )
        _tell(account, subject)
    return made


def clear_override(*, scope: str, subject: str, name: str) -> bool:
    """Take it back; whether there was one. Raises :class:`Refused`: ``bad_request``, ``not_found`` as above."""
    with transaction.atomic():
        account = _lock(scope, subject)
        deleted, _ = LimitOverride.objects.filter(
            scope=scope, subject=str(account.pk) if account else subject, name=name
        ).delete()
        if deleted:
            _tell(account, subject)
    return bool(deleted)


def set_class(*, account: Account, limit_class: str, by: str) -> str:
    """Put an account into a class, "" into none; the class that it was of before. ``by``: as above; who puts an account into a
    class records why (a sanction, the audit log).

    Raises :class:`Refused`: ``bad_request`` ({field: limitClass}: there is no such class), ``not_found`` (the account has ended).
    """
    if limit_class and limit_class not in classes():
        raise _bad("limitClass", "is no class of limits")
    with transaction.atomic():
        locked = Account.objects.select_for_update(no_key=True).filter(pk=account.pk).first()
        if locked is None:
            raise ended()
        before = locked.limit_class
        if before != limit_class:
            locked.limit_class = limit_class
            locked.save(update_fields=["limit_class"])
            events.limits_changed(user_id=str(account.pk))
    account.limit_class = limit_class
    return before


def classes() -> list[str]:
    """Those that there are: built in, or with rows."""
    made = LimitOverride.objects.filter(scope=CLASS).values_list("subject", flat=True).distinct()
    return sorted({*CLASSES, *made})


def check(*, name: str, value: int, until: int | None, reason: str, now: int) -> None:
    """Raises :class:`Refused` (``bad_request``) as :func:`set_override`."""
    about = TABLE.get(name)
    if about is None or about.least is None or about.most is None:
        raise _bad("name", "is no limit of which an account may have another value")
    if not about.least <= value <= about.most:
        raise _bad("value", f"is between {about.least} and {about.most}")
    if until is not None and until <= now:
        raise _bad("until", "is past")
    if not reason.strip():
        raise _bad("reason", "is needed")


def prune(*, now: int) -> int:
    """Delete rows that have ended; they have had no effect since. Returns how many."""
    due = LimitOverride.objects.filter(until__lte=now).order_by("pk")
    count = 0
    for row in list(due[:BATCH]):
        with transaction.atomic():
            account = None
            if row.scope == USER:
                account = Account.objects.select_for_update(no_key=True).filter(pk=row.subject).first()
            # Under the account's lock: it may have been given anew.
            deleted, _ = LimitOverride.objects.filter(pk=row.pk, until__lte=now).delete()
            if deleted and account is not None:
                _carry(account)
            count += deleted
    return count


def _lock(scope: str, subject: str) -> Account | None:
    """The account, locked; None: it is about a class, which is checked."""
    if scope == CLASS:
        if not CLASS_NAME.match(subject):
            raise _bad(
                "subject", "is a name of at most 32 letters, digits, - and _, and begins with a letter"
            )
        return None
    if scope != USER:
        raise _bad("scope", "is user or class")
    try:
        id_ = uuid.UUID(subject)
    except ValueError:
        raise _bad("subject", "is the id of an account") from None
    account = Account.objects.select_for_update(no_key=True).filter(pk=id_).first()
    if account is None:
        raise Refused(Code.NOT_FOUND, "There is no such account.")
    return account


def _tell(account: Account | None, subject: str) -> None:
    if account is not None:
        _carry(account)
        events.limits_changed(user_id=str(account.pk))
        return
    transaction.on_commit(own_limits.forget_classes)
    events.limit_class_changed(limit_class=subject)


def _carry(account: Account) -> None:
    """The account's row says what its rows here say. It is locked."""
    rows = LimitOverride.objects.filter(scope=USER, subject=str(account.pk)).order_by("name")
    account.own_limits = {
        name: [value, until] for name, value, until in rows.values_list("name", "value", "until")
    } or None
    account.save(update_fields=["own_limits"])


def _bad(field: str, why: str) -> Refused:
    return Refused(Code.BAD_REQUEST, f"{field} {why}.", details={"field": field})
