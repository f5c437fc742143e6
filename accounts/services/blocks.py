"""Whom an account wants nothing from."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction

from accounts import events
from accounts.errors import Refused
from accounts.locks import lock_account
from accounts.models import Account, Block
from accounts.selectors import account_by_id
from delivery.store.sync import store
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

MAX_BLOCKS: Final = 1_000


def block(*, owner: Account, user_id: uuid.UUID, device_id: str = "") -> None:
    """Idempotent. Raises :class:`Refused`: ``bad_request`` (oneself), ``not_found``, ``limit_exceeded``."""
    account = account_by_id(user_id=user_id)
    if account.pk == owner.pk:
        raise Refused(Code.BAD_REQUEST, "This is you.")
    with transaction.atomic():
        # The limit holds under parallel requests.
        lock_account(owner)
        if Block.objects.filter(owner=owner, user=account).exists():
            return
        if Block.objects.filter(owner=owner).count() >= MAX_BLOCKS:
            raise Refused(Code.LIMIT_EXCEEDED, "Your list is full.", details={"limit": MAX_BLOCKS})
        now = now_ms()
        Block.objects.create(owner=owner, user=account, at=now)
        store.withhold(str(owner.pk), str(account.pk), True, now)
        _tell(owner, str(account.pk), device_id, blocked=True)


def unblock(*, owner: Account, user_id: uuid.UUID, device_id: str = "") -> None:
    """Idempotent: unblocking who is not blocked changes nothing."""
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=owner.pk)
        deleted, _ = Block.objects.filter(owner=owner, user_id=user_id).delete()
        if deleted:
            store.withhold(str(owner.pk), str(user_id), False, now_ms())
            _tell(owner, str(user_id), device_id, blocked=False)


def withhold_between(*, one: uuid.UUID, other: uuid.UUID) -> None:
    """Their direct conversation is made in the caller's transaction: it begins with the blocks that are in force."""
    # Whoever blocks or unblocks at this moment comes before, and is seen, or after, and finds the conversation.
    store.hold_direct(str(one), str(other))
    for owner, user in ((one, other), (other, one)):
        if Block.objects.filter(owner_id=owner, user_id=user).exists():
            store.withhold(str(owner), str(user), True, now_ms())


def _tell(owner: Account, user: str, device_id: str, *, blocked: bool) -> None:
    """The owner's other devices, and the gateways, where either may be followed by the other."""
    events.notice(
        user_id=str(owner.pk), kind="flags", data={"userId": user, "blocked": blocked}, but=device_id
    )
    events.visibility_changed(user_ids=[str(owner.pk), user])
    events.blocks_changed(user_ids=[str(owner.pk), user])
