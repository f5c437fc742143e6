"""Conversations that tables name, from random places of the ring: whether they may be here, somebody else judges."""

from __future__ import annotations

import secrets
from typing import Final

from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.session import Cassandra

#: Tables whose partitions are conversations', with the columns of the partition key.
TABLES: Final = {"conversation": "conversation", "event": "conversation, bucket", "member": "conversation"}
#: Places of the ring where reading begins: partitions lie there in no order that anybody chose.
PLACES: Final = 8


async def sample(db: Cassandra, documents: Documents, table: str, limit: int) -> list[str]:
    """At most ``limit`` conversations of a table of :data:`TABLES`, a few from each place. Raises ``KeyError``."""
    key = TABLES[table]
    distinct = "DISTINCT " if table != "conversation" else ""
    cql = f"SELECT {distinct}{key} FROM $.{table} WHERE token({key}) >= ? LIMIT ?"
    found: set[str] = set()
    each = max(1, limit // PLACES)
    # The first place is the beginning: from a random one a small table may have nothing behind it.
    for place in (-(2**63), *(secrets.randbits(64) - 2**63 for _ in range(PLACES - 1))):
        found.update(str(row[0]) for row in await db.rows(cql, place, each))
    return sorted(found)[:limit]
