"""Writes of conversations over REST."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.models import Account
from accounts.residency import check_conversation, region_for
from accounts.selectors import account_by_id
from accounts.services import blocks, requests
from delivery.ids import conversation_id
from delivery.store.sync import store
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


def open_direct(*, account: Account, user_id: uuid.UUID) -> str:
    """The id of the 1:1 conversation with another user, made if there is none. Idempotent, one id from both sides.

    Who does not have the other in the address book has to accept the other first, by a word, as a contact, or expressly.
    Raises :class:`Refused`: ``bad_request`` (oneself), ``not_found``, ``rate_limited`` (too many new ones),
    ``wrong_region``.
    """
    if user_id == account.pk:
        raise Refused(Code.BAD_REQUEST, "A direct conversation needs another user.")
    other = account_by_id(user_id=user_id)
    now = now_ms()
    new_id = conversation_id(now, "direct", region_for({account.region, other.region}))
    with transaction.atomic():
        opened = store.ensure_direct(str(account.pk), str(other.pk), new_id, now)
        check_conversation(opened)
        if opened == new_id:
            _count_first(account, now)
            requests.begin(conversation_id=opened, one=account.pk, other=other.pk)
            blocks.withhold_between(one=account.pk, other=other.pk)
    return opened


def _count_first(account: Account, now: int) -> None:
    """New conversations, with whomever: were those with one's contacts free, the limit would tell who has one as a contact."""
    for scope, name, window_ms in (
        ("first_contacts_day", "first_contacts_per_day", limits.DAY_MS),
        ("first_contacts_hour", "first_contacts_per_hour", limits.HOUR_MS),
    ):
        limits.count(
            scope=scope,
            subject=str(account.pk),
            limit=limits.limit_for(account, name),
            window_ms=window_ms,
            now=now,
        )


def accept_request(*, account: Account, device_id: str, conversation_id: uuid.UUID) -> None:
    """Accept the other user of a direct conversation. Idempotent; nothing in a conversation that is none of the account's."""
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        requests.accept(owner=account, conversations=[str(conversation_id)], device_id=device_id)
