"""What others need to begin an encrypted session with a user's devices; each one-time prekey is given once, to one caller.

Whoever empties somebody's keys takes the one-time ones from honest senders. So they are rationed, for each who asks for somebody
and for each who is asked for; above that nobody is refused: they get what is given again and again, the signed prekey and the
last resort, as if the one-time ones were used up. Only who asks for very many users is refused.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from accounts import events, rates
from accounts.errors import Refused
from accounts.limits import DAY_MS, HOUR_MS, limit_for
from accounts.models import Account, Device
from accounts.selectors import account_by_id
from accounts.services.prekeys import CLASSIC, POST_QUANTUM, Counts, PublicKey, is_low
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.logs import about
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)
metrics.count("keys", "drained", 0)  # a series that begins at 0: the first alarm is an increase


class Bundle(NamedTuple):
    device_id: str
    registration_id: int
    identity_key: bytes
    signed: PublicKey
    classic: PublicKey | None
    post_quantum: PublicKey | None


# One statement: a row that two callers want is locked by one, and the other takes the next (SKIP LOCKED). What is given out is
# emptied here; the row stays, so that its id is known to be used.
_TAKE: Final = """
WITH wanted AS (
    SELECT device.id, device.registration_id, device.linked_at, identity.key, keys.*
    FROM accounts_device device
    JOIN accounts_devicekeys keys ON keys.device_id = device.id
    JOIN accounts_identity identity ON identity.account_id = device.user_id
    WHERE device.user_id = %(user)s AND device.unlinked_at IS NULL AND device.registration_id IS NOT NULL
        AND device.id <> %(caller)s AND (%(device)s::uuid IS NULL OR device.id = %(device)s::uuid)
), picked AS (
    SELECT one.* FROM wanted
    CROSS JOIN (VALUES (%(classic)s::smallint), (%(post_quantum)s::smallint)) kinds (kind)
    CROSS JOIN LATERAL (
        SELECT prekey.id, prekey.device_id, prekey.kind, prekey.key_id, prekey.public_key, prekey.signature
        FROM accounts_prekey prekey
        WHERE prekey.device_id = wanted.id AND prekey.kind = kinds.kind AND prekey.given_at IS NULL
        ORDER BY prekey.id LIMIT 1 FOR UPDATE SKIP LOCKED) one
    WHERE %(one_time)s
), given AS (
    UPDATE accounts_prekey SET given_at = %(now)s, public_key = NULL, signature = NULL
    WHERE id IN (SELECT id FROM picked)
)
SELECT wanted.id, wanted.registration_id, wanted.key, wanted.signed_id, wanted.signed_key, wanted.signed_signature,
       wanted.last_id, wanted.last_key, wanted.last_signature, wanted.low, wanted.post_quantum,
       c.key_id, c.public_key, c.signature, q.key_id, q.public_key, q.signature,
       (SELECT count(*) FROM accounts_prekey p
        WHERE p.device_id = wanted.id AND p.kind = %(classic)s AND p.given_at IS NULL) - (c.id IS NOT NULL)::int,
       (SELECT count(*) FROM accounts_prekey p
        WHERE p.device_id = wanted.id AND p.kind = %(post_quantum)s AND p.given_at IS NULL) - (q.id IS NOT NULL)::int
FROM wanted
LEFT JOIN picked c ON c.device_id = wanted.id AND c.kind = %(classic)s
LEFT JOIN picked q ON q.device_id = wanted.id AND q.kind = %(post_quantum)s
ORDER BY wanted.linked_at, wanted.id
"""

# Whoever puts new keys at this moment holds the row, and says itself how many are left.
_LOW: Final = """
UPDATE accounts_devicekeys SET low = true WHERE device_id IN (
    SELECT device_id FROM accounts_devicekeys WHERE device_id = %s AND NOT low FOR UPDATE SKIP LOCKED)
RETURNING 1
"""


def fetch(
    *, account: Account, device: Device, user_id: uuid.UUID, device_id: uuid.UUID | None = None
) -> list[Bundle]:
    """A bundle for each device of a user that has keys, or for this one device; never for the calling device.

    A block changes nothing here: it would tell the blocked. Raises :class:`Refused`: ``rate_limited``, ``not_found`` (no such
    user; with ``device_id`` also no keys of such a device).
    """
    now = now_ms()
    with rates.counting():
        _count_caller(account, now)
        user = account_by_id(user_id=user_id)
        one_time = _is_within_ration(account, user, now)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                _TAKE,
                {
                    "user": user.pk,
                    "caller": device.pk,
                    "device": device_id,
                    "one_time": one_time,
                    "classic": int(CLASSIC),
                    "post_quantum": int(POST_QUANTUM),
                    "now": now,
                },
            )
            rows = cursor.fetchall()
        bundles = [_bundle(row) for row in rows]
        for row, bundle in zip(rows, bundles, strict=True):
            low, uses_post_quantum = row[9:11]
            left = Counts(*row[17:19])
            if not low and is_low(left, post_quantum=uses_post_quantum):
                _tell_low(user, bundle.device_id, left)
    if device_id is not None and not bundles:
        raise Refused(Code.NOT_FOUND, "There are no keys of such a device.")
    _count(rows, one_time=one_time)
    return bundles


def _count_caller(account: Account, now: int) -> None:
    for scope, limit, window_ms in (
        ("key_fetches_hour", limit_for(account, "key_fetches_per_hour"), HOUR_MS),
        ("key_fetches_day", limit_for(account, "key_fetches_per_day"), DAY_MS),
    ):
        wait = rates.take(scope=scope, subject=str(account.pk), limit=limit, window_ms=window_ms, now=now)
        if wait:
            metrics.count("keys", "refused")
            raise Refused(Code.RATE_LIMITED, "Too many keys asked for; try again later.", retry_after_ms=wait)


def _is_within_ration(account: Account, user: Account, now: int) -> bool:
    """Whether this caller may have one-time keys of this user now. In the same order for all, so nobody waits in a circle: first
    what is counted for a pair, then what is for a user."""
    pair = f"{account.pk}:{user.pk}"
    for scope, limit, window_ms in (
        ("keys_pair_hour", LIMITS.prekeys_of_one_per_hour, HOUR_MS),
        ("keys_pair_day", LIMITS.prekeys_of_one_per_day, DAY_MS),
    ):
        if rates.take(scope=scope, subject=pair, limit=limit, window_ms=window_ms, now=now):
            metrics.count("keys", "rationed")
            return False
    if user.pk == account.pk:
        return True  # takes nothing from what there is for others
    subject = str(user.pk)
    hour, day = LIMITS.prekeys_given_per_hour, LIMITS.prekeys_given_per_day
    if rates.take(scope="keys_user_hour", subject=subject, limit=hour, window_ms=HOUR_MS, now=now):
        metrics.count("keys", "rationed")
        return False
    if rates.take(scope="keys_user_day", subject=subject, limit=day, window_ms=DAY_MS, now=now):
        metrics.count("keys", "rationed")
        _alarm(user, now)
        return False
    return True


def _alarm(user: Account, now: int) -> None:
    """Very many have asked for a user's keys for hours: said once an hour for each user."""
    if not rates.take(scope="keys_alarm", subject=str(user.pk), limit=1, window_ms=HOUR_MS, now=now):
        metrics.count("keys", "drained")
        log.warning("the one-time keys of a user are being drained", extra=about(user=user.pk))


def _bundle(row: tuple[Any, ...]) -> Bundle:
    device, registration, identity = row[0:3]
    signed, last, classic, post_quantum = row[3:6], row[6:9], row[11:14], row[14:17]
    return Bundle(
        str(device),
        registration,
        bytes(identity),
        PublicKey(*signed),
        PublicKey(*classic) if classic[0] is not None else None,
        PublicKey(*post_quantum)
        if post_quantum[0] is not None
        else PublicKey(*last)
        if last[0] is not None
        else None,
    )


def _tell_low(user: Account, device_id: str, left: Counts) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_LOW, [device_id])
        if cursor.fetchone() is None:
            return
    metrics.count("keys", "low")
    events.notice(
        user_id=str(user.pk),
        kind="prekeys_low",
        data={"preKeys": left.classic, "pqPreKeys": left.post_quantum},
        only=device_id,
    )


def _count(rows: list[tuple[Any, ...]], *, one_time: bool) -> None:
    metrics.count("keys", "given", sum((row[11] is not None) + (row[14] is not None) for row in rows))
    if one_time:
        metrics.count("keys", "without", sum(row[11] is None for row in rows))
        metrics.count("keys", "last_resort", sum(row[14] is None and row[6] is not None for row in rows))
