"""The audit of residency: rows are sampled and asked where they belong (``docs/subsystems/residency.md``).

Writes are refused before they happen; this finds what came by another way: a backup of elsewhere, settings that were changed, a
statement by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from delivery.store import chosen
from delivery.store.cassandra.sample import TABLES as ELSEWHERE
from whatsapp.infra import metrics, residency

log = logging.getLogger(__name__)

SAMPLE: Final = 1_000
#: Of a table's violations, those that are named.
MOST: Final = 100
#: A page of PostgreSQL's has some rows; a sample is of pages.
_MARGIN: Final = 2

#: Table → the rows' keys and home regions, by the account that they are of.
_OF_ACCOUNTS: Final = {
    "accounts_account": "SELECT id::text, region FROM accounts_account {sample}",
    "accounts_device": """SELECT r.id::text, a.region FROM accounts_device r {sample}
        JOIN accounts_account a ON a.id = r.user_id""",
    "accounts_export": """SELECT r.id::text, a.region FROM accounts_export r {sample}
        JOIN accounts_account a ON a.id = r.account_id""",
    "accounts_report": """SELECT r.id::text, a.region FROM accounts_report r {sample}
        JOIN accounts_account a ON a.id IN (r.reporter, r.reported)""",
    "media_media": """SELECT r.id::text, a.region FROM media_media r {sample}
        JOIN accounts_account a ON a.id = r.owner_id""",
}
#: Table → the rows' keys and the conversations that they are of.
_OF_CONVERSATIONS: Final = {
    "accounts_report": "SELECT id::text, conversation::text FROM accounts_report {sample} WHERE conversation IS NOT NULL",
    "groups_group": "SELECT id::text, id::text FROM groups_group {sample}",
    "media_media": "SELECT id::text, conversation_id::text FROM media_media {sample} WHERE conversation_id IS NOT NULL",
    "media_reference": "SELECT id::text, conversation_id::text FROM media_reference {sample}",
}
_OF_THE_LOG: Final = {
    "delivery_head": "SELECT conversation::text, conversation::text FROM delivery_head {sample}",
    "delivery_event": "SELECT conversation::text || ':' || seq, conversation::text FROM delivery_event {sample}",
    "delivery_member": "SELECT conversation::text || ':' || member, conversation::text FROM delivery_member {sample}",
}


class Violation(NamedTuple):
    table: str
    key: str
    region: int | None  # where it belongs; None: its id names no region


class Audit(NamedTuple):
    looked: dict[str, int]  # table → rows
    found: dict[str, int]  # table → violations among them
    violations: list[Violation]  # at most :data:`MOST` of a table


def audit(sample: int = SAMPLE) -> Audit:
    """Look at about ``sample`` rows of each table, at all of a small one. Without regions nothing is looked at. Raises
    ``Unavailable`` when the log is elsewhere and does not answer."""
    looked: dict[str, int] = {}
    found: dict[str, int] = {}
    violations: list[Violation] = []
    here = residency.current()
    if not here.on:
        return Audit(looked, found, violations)

    def judge(table: str, rows: Iterable[tuple[str, int | None]]) -> None:
        rows = list(rows)
        wrong = [
            Violation(table, key, region) for key, region in rows if region is None or not here.has(region)
        ]
        looked[table] = looked.get(table, 0) + len(rows)
        found[table] = found.get(table, 0) + len(wrong)
        violations.extend(wrong[:MOST])

    for table, sql in _OF_ACCOUNTS.items():
        judge(table, _rows(table, sql, sample))
    by_conversation = {**_OF_CONVERSATIONS, **({} if chosen.elsewhere() else _OF_THE_LOG)}
    for table, sql in by_conversation.items():
        judge(table, ((key, here.region_in(one)) for key, one in _rows(table, sql, sample)))
    if chosen.elsewhere():
        for table in ELSEWHERE:
            ids = chosen.inspect("sample", table, sample)
            judge(f"cassandra.{table}", ((one, here.region_in(one)) for one in ids))
    return Audit(looked, found, violations)


def scheduled(sample: int = SAMPLE) -> dict[str, int]:
    """:func:`audit` by the schedule: counted and logged, without the keys. Returns table → violations, where there are some."""
    found = {table: number for table, number in audit(sample).found.items() if number}
    for table, number in found.items():
        metrics.RESIDENCY.add(table, number=number)
        log.error("%d rows of %s belong to a region that is not held here", number, table)
    return found


def _rows(table: str, sql: str, sample: int) -> list[tuple[str, Any]]:
    """Key and what says where it belongs, of rows on pages chosen by chance."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table])
        many = max(cursor.fetchone()[0], 0)  # -1: nobody has counted
        percent = min(100.0, 100.0 * _MARGIN * sample / many) if many else 100.0
        cursor.execute(
            f"{sql.format(sample='TABLESAMPLE SYSTEM (%s)')} LIMIT %s", [percent, _MARGIN * sample]
        )
        return cursor.fetchall()
