"""What the owner of a sanction is told: an account that is banned, or may do less, gets the address of its appeal
(:mod:`accounts.appeal_address`). Tokens are refused while a ban lasts; who may do less has it from ``GET /me`` and a notice."""

from __future__ import annotations

import uuid
from typing import Any

from accounts.appeal_address import read, token, url
from accounts.errors import Refused, banned
from accounts.models import Account, Sanction
from accounts.services.sanctions import BANS, CLASS_OF, FOREVER, in_force_of, limited
from whatsapp.infra.clock import now_ms

__all__ = ["banned_account", "limited_account", "read", "token", "url"]


def limited_account(account: Account) -> dict[str, Any] | None:
    """What this account may do less, as :func:`limited` says it; None for nothing."""
    if account.limit_class not in CLASS_OF.values():
        return None  # no question for nearly everybody
    return limited(in_force_of(account.pk, now=now_ms()))


def banned_account(account: Account) -> Refused:
    """``banned`` of an account that is, with its appeal: what a request or a sign-in of its owner is answered."""
    found = [one for one in in_force_of(account.pk, now=now_ms()) if one.kind in BANS]
    last = max(found, key=_end, default=None)
    return banned(account.banned_until, url(str(last.pk) if last is not None else ""))


def _end(sanction: Sanction) -> tuple[int, uuid.UUID]:
    return (sanction.until if sanction.until is not None else FOREVER, sanction.pk)
