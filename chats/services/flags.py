"""What a user sets for a conversation: mute, pin, archive and draft."""

from __future__ import annotations

import uuid
from typing import TypedDict

from django.db import transaction

from accounts import events, limits
from accounts.errors import Refused
from accounts.locks import lock_account
from accounts.models import Account
from chats.selectors import flags_json
from delivery.store.sync import store
from delivery.store.values import Flags, OwnFlags
from notifications import looks
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code


class Changes(TypedDict, total=False):
    """What is not there stays as it is."""

    muted_until: int  # ms, 0: not muted
    pinned: bool
    archived: bool
    draft: bytes | None


def set_flags(*, account: Account, device_id: str, conversation_id: uuid.UUID, changes: Changes) -> Flags:
    """Change them; what is in force then. The user's other devices are told on commit; what changes nothing tells nobody.

    Who has a conversation in the list may, also after leaving a group. Of two devices at once the later commit wins, field by
    field. Raises :class:`Refused`: ``not_found``, ``limit_exceeded``, ``rate_limited``.
    """
    now, user, conversation = now_ms(), str(account.pk), str(conversation_id)
    if changes:
        limits.count(
            scope="conversation_changes_hour",
            subject=user,
            limit=limits.limit_for(account, "conversation_changes_per_hour"),
            window_ms=limits.HOUR_MS,
            now=now,
        )
    with transaction.atomic():
        # The limits over all conversations hold, and no change is lost, when two devices come at once.
        lock_account(account)
        found = store.flags(user, conversation)
        if found is None:
            raise Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")
        new = found.flags._replace(**changes)
        if new == found.flags:
            return new
        _check(account, new, found)
        new = store.set_flags(user, conversation, new, now)
        if (new.muted_until, new.archived) != (found.flags.muted_until, found.flags.archived):
            looks.look_soon([user])
        events.notice(user_id=user, kind="flags", data=flags_json(conversation, new), but=device_id)
    return new


def _check(account: Account, new: Flags, found: OwnFlags) -> None:
    """Only what grows is refused: who is above a limit that was lowered can still take back."""
    old = found.flags
    most = limits.limit_for(account, "pinned_conversations")
    if new.pinned and not old.pinned and found.pinned >= most:
        raise Refused(
            Code.LIMIT_EXCEEDED,
            f"At most {most} conversations are pinned.",
            details={"limit": most},
        )
    draft = len(new.draft or b"")
    if draft > len(old.draft or b"") and found.draft_bytes + draft > LIMITS.drafts_bytes:
        raise Refused(
            Code.LIMIT_EXCEEDED,
            f"All drafts together have at most {LIMITS.drafts_bytes} bytes.",
            details={"limit": LIMITS.drafts_bytes},
        )
