"""How fsck walks along tables: in the order of the cluster, so many keys at a time, from where it stopped; and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from delivery.store.cassandra.session import Cassandra


class Row(NamedTuple):
    """Something that disagrees, by the key it was looked at under."""

    kind: str
    key: str
    facts: dict[str, str | int]


Walk = Callable[[Cassandra, str, int], Awaitable[tuple[list[str], str]]]


def partitions(table: str, *key: str, distinct: bool = False) -> Walk:
    """Keys of a table's partitions in the order of the cluster; of several columns joined by ":"."""
    names, marks = ", ".join(key), ", ".join("?" * len(key))
    first = f"SELECT {'DISTINCT ' if distinct else ''}{names} FROM $.{table}"
    on = f"{first} WHERE token({names}) > token({marks}) LIMIT ?"

    async def walk(db: Cassandra, after: str, limit: int) -> tuple[list[str], str]:
        place = (
            [int(part) if part.lstrip("-").isdigit() else part for part in after.split(":")] if after else []
        )
        found = await (db.rows(on, *place, limit) if after else db.rows(f"{first} LIMIT ?", limit))
        keys = [":".join(map(str, row)) for row in found]
        return keys, keys[-1] if len(keys) >= limit else ""

    return walk


_events = partitions("event", "conversation", "bucket", distinct=True)
_members = partitions("member", "conversation", distinct=True)


async def logs(db: Cassandra, after: str, limit: int) -> tuple[list[str], str]:
    """Partitions of logs, then of members: "e:conversation:bucket", "m:conversation"."""
    part, _, after = after.partition(":")
    walk = _members if part == "m" else _events
    found, end = await walk(db, after, limit)
    name = "m" if part == "m" else "e"
    return [f"{name}:{key}" for key in found], f"{name}:{end}" if end else "" if part == "m" else "m:"
