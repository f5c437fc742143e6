"""Sums of codes by spans: they say what the rows say, however far a job has come, and read few of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import tasks
from accounts.guards import slots, traffic
from accounts.guards.slots import SETTLED_MS, SLOT_MS, Sums
from accounts.limits import DAY_MS
from accounts.models import SmsEvent, SmsSlot
from tests.accounts.conftest import parallel
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

PREFIXES = ("49151", "49160", "1415")
#: Not at the edge of a span, and at it.
NOWS = (1_795_000_123_456, 1_795_000_200_000, 1_795_000_199_999)


def by_rows(prefix: str, since: int, until: int) -> Sums:
    rows = [
        row
        for row in SmsEvent.objects.all()
        if since < row.at <= until and (not prefix or row.prefix == prefix)
    ]
    kinds = [row.kind for row in rows]
    return Sums(
        sum(row.units for row in rows), *(kinds.count(kind) for kind in ("sent", "failed", "verified"))
    )


def some_codes(dice: random.Random, low: int, high: int, number: int) -> None:
    rows = []
    for _ in range(number):
        at = dice.choice((dice.randint(low, high), dice.randint(low, high) // SLOT_MS * SLOT_MS))
        prefix = dice.choice(PREFIXES)
        rows.append(SmsEvent(prefix=prefix, at=at, kind="sent", units=dice.choice((10, 50))))
        if dice.random() < 0.4:
            rows.append(SmsEvent(prefix=prefix, at=at, kind=dice.choice(("verified", "failed"))))
    SmsEvent.objects.bulk_create(rows)


def agree(dice: random.Random, now: int) -> None:
    for prefix in ("", *PREFIXES, "33612"):
        for _ in range(6):
            since = now - dice.choice((DAY_MS, 6 * 3_600_000, 3 * SLOT_MS, dice.randint(0, DAY_MS)))
            until = now - dice.choice((0, LIMITS.code_ttl_ms, 2 * SLOT_MS, dice.randint(0, DAY_MS)))
            assert slots.sums(prefix, since, until) == by_rows(prefix, since, until)
        assert traffic.spent(prefix, now) == by_rows(prefix, now - DAY_MS, 2**62).units


@pytest.mark.parametrize("seed", range(3))
def test_sums_are_those_of_the_rows_however_far_the_job_has_come(seed: int) -> None:
    """It runs late, twice, after a restart, or not for a day; codes go out and come back meanwhile."""
    dice, now = random.Random(seed), NOWS[seed]
    some_codes(dice, now - DAY_MS - 2 * SLOT_MS, now, 150)
    agree(dice, now)  # nothing is summed yet
    slots.sum_up(now - dice.randint(0, DAY_MS))
    agree(dice, now)
    for _ in range(3):
        slots.sum_up(now)
        agree(dice, now)
        assert slots.sum_up(now) == 0
        later = now + dice.choice((1, SLOT_MS, 7 * SLOT_MS, DAY_MS // 2))
        some_codes(dice, now, later, 30)
        now = later
        agree(dice, now)
    slots.sum_up(now + 2 * DAY_MS)
    agree(dice, now + DAY_MS)


def test_what_comes_back_late_is_summed_anew() -> None:
    assert LIMITS.code_ttl_ms <= SETTLED_MS, "a code comes back before its span is summed"
    now = NOWS[0]
    sent = now - SETTLED_MS - 2 * SLOT_MS
    SmsEvent.objects.create(prefix="49151", at=sent, kind="sent", units=50)
    slots.sum_up(now)
    SmsEvent.objects.create(prefix="49151", at=sent, kind="failed")  # a centre that was slow to say so
    slots.sum_up(now + SLOT_MS)
    assert slots.sums("49151", now - DAY_MS) == by_rows("49151", now - DAY_MS, now)


def rows_read(prefix: str, now: int) -> int:
    """Rows of codes that the statement behind :func:`slots.sums` looks at; of spans a day has 288."""
    with connection.cursor() as cursor:
        values = {
            "prefix": prefix, "since": now - DAY_MS, "until": 2**62, "slot": SLOT_MS,
            "first": (now - DAY_MS) // SLOT_MS + 1, "last": 2**62 // SLOT_MS,
        }  # fmt: skip
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {slots._OF_ONE if prefix else slots._OF_ALL}", values)
        return _scanned(cursor.fetchone()[0][0]["Plan"])


def _scanned(node: dict[str, Any]) -> int:
    own = 0
    if node.get("Relation Name") == SmsEvent._meta.db_table:
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return int(own) + sum(_scanned(each) for each in node.get("Plans", []))


@pytest.mark.parametrize("prefix", ["", "49151"])
def test_a_request_reads_no_more_rows_on_a_busy_day(prefix: str) -> None:
    now = NOWS[0]
    few, many = 2_000, 10_000
    read = []
    for number in (few, many - few):
        step = DAY_MS // number
        SmsEvent.objects.bulk_create(
            SmsEvent(prefix="49151", at=now - n * step, kind="sent", units=50) for n in range(number)
        )
        if number == few:
            unsummed = rows_read(prefix, now)
        SmsSlot.objects.all().delete()
        slots.sum_up(now)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE accounts_smsevent, accounts_smsslot")
        read.append(rows_read(prefix, now))
    assert unsummed >= few, "the twin: without the job each row of the day is read"
    edges = many * (SETTLED_MS + 3 * SLOT_MS) // DAY_MS
    assert 0 < max(read) <= edges + 10


def test_two_runs_at_once_do_no_harm(transactional_db: None) -> None:
    now = now_ms()
    some_codes(random.Random(1), now - DAY_MS, now, 50)
    with transaction.atomic():
        assert slots.sum_up(now) > 0
        assert parallel(1, lambda: slots.sum_up(now)) == [0]  # it does not wait
    assert traffic.spent("", now) == by_rows("", now - DAY_MS, now).units
    assert tasks.sum_up_codes() == 0
