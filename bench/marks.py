"""Whether every device that is owed something has its mark on the hot server: all of them, none left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import psycopg

from delivery.inbox import dirty_key
from whatsapp.infra import hot_sync

_AT_ONCE = 5_000

_DEVICES = """SELECT m.conversation::text, h.head, m.member::text, d.device::text
FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation JOIN delivery_device d ON d.member = m.member
WHERE m.conversation = ANY (%s::uuid[]) AND m.left_seq = 0"""


def owed(database_url: str, groups: Sequence[str]) -> list[tuple[str, int, str, str]]:
    """Conversation, its head, user and device of every member of these groups."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(_DEVICES, (list(groups),)).fetchall()


def check(
    hot_url: str, rows: Sequence[tuple[str, int, str, str]], without: Collection[str]
) -> tuple[int, list[str]]:
    """How many devices were looked at, and those whose mark is not at the head. ``without``: devices that acknowledge."""
    wrong: list[str] = []
    looked = 0
    with hot_sync.client(hot_url) as client:
        for some in _parts([row for row in rows if row[3] not in without]):
            pipe: Any = client.pipeline(transaction=False)
            for conversation, _, user, device in some:
                pipe.zscore(dirty_key(user, device), conversation)
            for (conversation, head, _, device), score in zip(some, pipe.execute(), strict=True):
                looked += 1
                if score != head:
                    wrong.append(f"device {device} has {score}, {conversation} is at {head}")
    return looked, wrong


def _parts(rows: Sequence[tuple[str, int, str, str]]) -> Iterator[list[tuple[str, int, str, str]]]:
    rest = iter(rows)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
