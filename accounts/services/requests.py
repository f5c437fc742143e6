"""Message requests: whom an account has not accepted yet, and how it does."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from accounts import events
from accounts.models import Account, Contact
from delivery.store.sync import store
from whatsapp.infra.clock import now_ms


def begin(*, conversation_id: str, one: uuid.UUID, other: uuid.UUID) -> None:
    """Their direct conversation is made in the caller's transaction: whoever does not have the other in the address book has not
    accepted the other."""
    # Whoever adds a contact at this moment has the account's lock before, and is seen, or after, and finds the conversation.
    list(Account.objects.select_for_update(no_key=True).filter(pk__in=(one, other)).order_by("pk"))
    known = set(
        Contact.objects.filter(owner__in=(one, other), user__in=(one, other), removed=False).values_list(
            "owner_id", flat=True
        )
    )
    strangers = [str(user) for user in (one, other) if user not in known]
    if strangers:
        store.request(conversation_id, strangers)
        events.visibility_changed(user_ids=strangers)


def accept(
    *, owner: Account, conversations: Sequence[str] = (), users: Sequence[str] = (), device_id: str = ""
) -> None:
    """Accept the others of these direct conversations, and these users where there is one. Idempotent. Inside a transaction that
    holds the account's lock. The owner's other devices, and the gateways of both, are told on commit."""
    user = str(owner.pk)
    for conversation, other in store.accept(user, now_ms(), conversations=conversations, others=users):
        events.notice(
            user_id=user,
            kind="flags",
            data={"conversationId": conversation, "request": False},
            but=device_id,
        )
        events.request_accepted(conversation_id=conversation, user_id=user, other_id=other)
