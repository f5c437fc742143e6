"""A management step beside the servers: ends accounts, erases them store by store, and searches for what is left.

``python -m bench.erased`` in the environment of a system. Standard input ``{"accounts", "crowd", "rows", "shape"}``: so many
accounts of this shape (:mod:`bench.rich`), so many bare ones to search for at once, so many rows more to search in. Standard
output: the figures. It sets accounts back by a month and lets retention pass; nothing of a step is left out for that.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import django

from bench import rich
from whatsapp.infra.clock import now_ms

if TYPE_CHECKING:
    from accounts.models import Account

_DAY_MS = 86_400_000
_MONTH_MS = 40 * _DAY_MS
#: Messages between people who are not there: 221 bytes each, as everywhere.
_FILL = """
INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash,
                            content)
SELECT n, 0, %s, %s, 0, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'text',
       decode(md5(n::text), 'hex'), substr(decode(repeat(md5(random()::text), 14), 'hex'), 1, 221)
FROM generate_series(1, %s) AS n"""
_ROWS = "SELECT coalesce(sum(n_live_tup), 0), pg_database_size(current_database()) FROM pg_stat_user_tables"


def _measure(asked: dict[str, Any]) -> dict[str, Any]:
    accounts = rich.make(asked["accounts"], rich.Shape(**asked["shape"]), rich.first_number())
    first = rich.first_number()
    crowd = [rich.person(first + n)[0] for n in range(asked["crowd"] + 1)]
    ended = _end(accounts)
    _end(crowd)
    _pass_a_month([*accounts, *crowd])
    problems: list[str] = []
    erased = _erase(accounts, problems)
    _erase(crowd, problems)
    _fill(asked["rows"])
    rows, size = _stored()
    keys = [account.pk for account in crowd]
    search = {"1": _search(keys[:1], problems), str(asked["crowd"]): _search(keys[1:], problems)}
    return {
        "ends_per_second": round(len(accounts) / ended, 2),
        "accounts_per_second": round(len(accounts) / erased, 3),
        "ms_per_account": round(erased / len(accounts) * 1000),
        "search_seconds": search,
        "rows": rows,
        "database_mb": round(size / 2**20, 1),
        "problems": problems,
    }


def _end(accounts: list[Account]) -> float:
    """Seconds that ``DELETE /me`` takes of all, without its proof."""
    from django.db import transaction

    from accounts.models import Account
    from accounts.services import recycling

    began = time.perf_counter()
    for account in accounts:
        with transaction.atomic():
            locked = Account.objects.select_for_update().get(pk=account.pk)
            recycling.retire(account=locked, now=now_ms())
    return time.perf_counter() - began


def _pass_a_month(accounts: list[Account]) -> None:
    from django.conf import settings

    from accounts.models import Account
    from delivery.store.sync import store
    from groups.tasks import leave_retired
    from whatsapp.infra import hot_sync
    from whatsapp.infra.limits import LIMITS

    leave_retired()
    # An hour ends these (``accounts/profiles.py``).
    with hot_sync.client(settings.CACHE_URL) as cache:
        for account in accounts:
            for key in list(cache.scan_iter(f"*:profile:{account.pk}*", count=1_000)):
                cache.delete(key)
    Account.objects.filter(pk__in=[one.pk for one in accounts]).update(retired_at=now_ms() - _MONTH_MS)
    while store.expire(now_ms() + _MONTH_MS, LIMITS.retention_ms, 5000):
        pass


def _erase(accounts: list[Account], problems: list[str]) -> float:
    """Seconds until every store has said that nothing of these is left."""
    from accounts.models import Erasure
    from accounts.services import erasure

    rows = Erasure.objects.filter(user__in=[one.pk for one in accounts])
    rows.update(next_at=1)
    keys = list(rows.values_list("pk", flat=True))
    began = time.perf_counter()
    for key in keys:
        while erasure.step(key) and erasure.is_due(key):
            pass
    took = time.perf_counter() - began
    for row in rows.exclude(state=Erasure.State.VERIFYING):
        problems.append(f"{row.state}, without {row.error}: {sorted(row.stores)}")
    return took


def _fill(rows: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(_FILL, [now_ms(), now_ms(), rows])
        cursor.execute("ANALYZE")


def _stored() -> tuple[int, int]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(_ROWS)
        rows, size = cursor.fetchone()
    return int(rows), int(size)


def _search(users: list[Any], problems: list[str]) -> float:
    """Seconds of a pass over every store for these."""
    from accounts.models import Erasure
    from accounts.services import erasure, verification

    verifying = Erasure.objects.filter(state=Erasure.State.VERIFYING)
    verifying.update(next_at=now_ms() + 2 * erasure.GATHER_MS)
    wanted = list(verifying.filter(user__in=users).values_list("pk", flat=True))
    verifying.filter(pk__in=wanted).update(next_at=1)
    began = time.perf_counter()
    searched = verification.verify()
    took = time.perf_counter() - began
    done = Erasure.objects.filter(pk__in=wanted, state=Erasure.State.DONE).count()
    if not searched == done == len(users):
        problems.append(f"{searched} of {len(users)} were searched for, {done} are done: {_where(wanted)}")
    return round(took, 3)


def _where(keys: list[int]) -> list[str]:
    """Where something is left of these."""
    from accounts import stores
    from accounts.models import Erasure
    from accounts.services import persons

    rows = Erasure.objects.filter(pk__in=keys, identifiers__isnull=False)
    people = [persons.unseal(bytes(row.identifiers or b""), str(row.user)) for row in rows]
    found = (one for store in stores.all_stores() for one in store.leftovers(people))
    return sorted({f"{one.store}: {one.where}, {one.what}" for one in found})[:20]


if __name__ == "__main__":
    django.setup()
    json.dump(_measure(json.load(sys.stdin)), sys.stdout)
