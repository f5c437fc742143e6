"""A management step beside the servers: how many events are in the log on Cassandra, counted row by row.

``python -m bench.stored`` in the environment of a system; standard output ``{"events": N}``.
"""

from __future__ import annotations

import asyncio
import json
import sys

import django

from delivery.store.cassandra.configured import session
from delivery.store.cassandra.document import Document, unpack
from delivery.store.cassandra.rows import BUCKET


def _last(document: Document) -> int:
    """The last seq that there can be, on a copy of the document too."""
    return max(document.head, document.hot.limit if document.hot is not None else 0)


async def _count() -> int:
    log = await session().open()
    try:
        documents = await log.rows("SELECT conversation, document FROM $.conversation")
        buckets = [
            (conversation, bucket)
            for conversation, document in documents
            for bucket in range(_last(unpack(document)) // BUCKET + 1)
        ]
        counted = await log.each(
            "SELECT count(*) FROM $.event WHERE conversation = ? AND bucket = ?", buckets
        )
    finally:
        await log.close()
    return sum(rows[0][0] for rows in counted)


if __name__ == "__main__":
    django.setup()
    json.dump({"events": asyncio.run(_count())}, sys.stdout)
