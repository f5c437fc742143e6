"""How long messages of a conversation are kept: one member sets it for all."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.models import Account
from delivery import changes
from groups import access, selectors
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


def set_timer(*, account: Account, conversation_id: uuid.UUID, seconds: int) -> None:
    """Keep messages for so many seconds from now on; 0: for as long as all others. What it was before makes no event.

    Either user of a direct conversation may, in a group whom ``whoEdits`` names. Raises :class:`Refused`: ``not_found``,
    ``forbidden``, ``rate_limited``.
    """
    conversation = str(conversation_id)
    is_group = selectors.is_group(conversation_id)
    if is_group:
        access.view(group_id=conversation_id, account=account)
    limits.count(
        scope="timer_changes_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "timer_changes_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )
    with transaction.atomic():
        if is_group:
            group, me = access.enter(group_id=conversation_id, account=account)
            access.check_may(me, group.who_edits)
        if changes.set_timer(conversation=conversation, sender=str(account.pk), seconds=seconds) is None:
            raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
