"""Writes of conversations over REST."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction

from accounts.errors import Refused
from accounts.models import Account
from accounts.selectors import account_by_id
from accounts.services import blocks
from delivery.ids import conversation_id
from delivery.store.sync import store
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


def open_direct(*, account: Account, user_id: uuid.UUID) -> str:
    """The id of the 1:1 conversation with another user, made if there is none. Idempotent, one id from both sides.

    Raises :class:`Refused`: ``bad_request`` (oneself), ``not_found``.
    """
    if user_id == account.pk:
        raise Refused(Code.BAD_REQUEST, "A direct conversation needs another user.")
    other = account_by_id(user_id=user_id)
    now = now_ms()
    new_id = conversation_id(now, "direct", settings.HOME_REGION)
    with transaction.atomic():
        opened = store.ensure_direct(str(account.pk), str(other.pk), new_id, now)
        if opened == new_id:
            blocks.withhold_between(one=account.pk, other=other.pk)
    return opened
