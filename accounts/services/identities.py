"""The identity key of an account, and who is told when another one takes its place: whoever has a direct conversation with the
user or has them as a contact, and the user's own devices.

They are told by a task (``accounts.tasks.tell_identities``) in batches. How far it has come stands in the row of the identity, so
a broker that forgets the task, or a worker that dies, only delays it. Each batch is first written down (``IdentityNews``), then
published: who is away, or whose socket was cut, is told at the next connect (``accounts/news.py``).
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import Final

from django.db import connection, transaction
from django.db.models import F

from accounts import events, limits
from accounts.errors import Refused
from accounts.models import Account, Block, Contact, Device, Identity, IdentityNews
from delivery.store.sync import store
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

BATCH: Final = 500
#: Of one run; the rest follows with the next.
MAX_BATCHES: Final = 200

_WRITE: Final = """
INSERT INTO accounts_identitynews (user_id, about_id, at)
SELECT account.id, %(about)s, %(now)s FROM accounts_account account
WHERE account.id = ANY (%(users)s::uuid[]) AND account.retired_at IS NULL
ORDER BY account.id
ON CONFLICT (user_id, about_id) DO UPDATE SET at = excluded.at
"""


def put(*, account: Account, device: Device, key: bytes, now: int) -> bool:
    """The identity key that a device of the account gives; True when it took the place of another. The account's row is locked.

    Raises :class:`Refused`: ``conflict`` (only the primary device may change it), ``rate_limited``.
    """
    known = Identity.objects.filter(account=account).first()
    if known is None:
        Identity.objects.create(account=account, key=key)
        return False
    if bytes(known.key) == key:
        return False
    if not device.primary:
        raise Refused(
            Code.CONFLICT,
            "The account has another identity key; only its primary device may change it.",
            details={"field": "identityKey"},
        )
    limits.count(
        scope="identity_day",
        subject=str(account.pk),
        limit=limits.limit_for(account, "identity_changes_per_day"),
        window_ms=limits.DAY_MS,
        now=now,
    )
    known.key = key
    known.changed_at = max(now, known.changed_at + 1)
    known.told_after = None
    known.save(update_fields=["key", "changed_at", "told_after"])
    metrics.count("keys", "identity_changed")
    return True


def tell_changes() -> int:
    """Tell those who are still to be told of a change, at most ``MAX_BATCHES`` batches, in turns: whom many know keeps nobody
    else waiting. Returns how many were."""
    told = 0
    changed = Identity.objects.filter(changed_at__gt=F("told_at")).order_by("changed_at")
    turns = deque(changed.values_list("pk", flat=True)[:MAX_BATCHES])
    for _ in range(MAX_BATCHES):
        if not turns:
            break
        number = _tell_batch(turns[0]) or 0
        told += number
        if number < BATCH:
            turns.popleft()  # done, or somebody else is at it
        else:
            turns.rotate(-1)
    return told


def _tell_batch(pk: uuid.UUID) -> int | None:
    """The next ones; None when there are none, or somebody else is at it."""
    with transaction.atomic():
        identity = (
            Identity.objects.select_for_update(skip_locked=True)
            .filter(pk=pk, changed_at__gt=F("told_at"))
            .first()
        )
        if identity is None:
            return None
        about, after = str(pk), str(identity.told_after or uuid.UUID(int=0))
        contacts = Contact.objects.filter(user=pk, removed=False, owner__gt=after).order_by("owner")
        users = {str(owner) for owner in contacts.values_list("owner", flat=True)[:BATCH]}
        users.update(store.direct_peers(about, BATCH, after))
        if about > after:
            users.add(about)  # the user's other devices
        batch = sorted(users)[:BATCH]
        if batch:
            unwilling = Block.objects.filter(owner__in=batch, user=pk).values_list("owner", flat=True)
            batch_told = sorted(set(batch) - {str(owner) for owner in unwilling})
            now = now_ms()
            with connection.cursor() as cursor:
                cursor.execute(_WRITE, {"about": about, "now": now, "users": batch_told})
            events.notices(user_ids=batch_told, kind="identity_changed", data={"userId": about, "at": now})
            identity.told_after = uuid.UUID(batch[-1])
        if len(batch) < BATCH:
            identity.told_at = identity.changed_at
        identity.save(update_fields=["told_after", "told_at"])
        return len(batch)


def forget(*, account: Account) -> None:
    """The account has ended. Call it inside a transaction."""
    Identity.objects.filter(account=account).delete()
    IdentityNews.objects.filter(user=account).delete()
    IdentityNews.objects.filter(about=account).delete()
