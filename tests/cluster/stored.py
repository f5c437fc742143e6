"""What the log itself says, asked of the nodes that are left, beside what devices got."""

from __future__ import annotations

from collections import Counter
from typing import Any

from delivery.store.cassandra.session import opened
from delivery.store.cassandra.store import CassandraStore
from tests.cluster.load import Load

_PAGE = 100


async def all_is_stored(system: Any, load: Load, nodes: list[str]) -> None:
    """Every confirmed message is read by a quorum through these nodes, at the seq of its ✓, and none stands there twice."""
    ring = system.stack.ring
    hosts = [node.address for node in ring.nodes if node.name in nodes]
    log = system.stack.log
    async with opened(
        hosts,
        log["CASSANDRA_KEYSPACE"],
        port=ring.port,
        data_center=log["CASSANDRA_DATA_CENTRE"],
        username=log["CASSANDRA_USER"],
        password=log["CASSANDRA_PASSWORD"],
    ) as session:
        store = CassandraStore(session)
        for reader, conversation in zip(load.readers, load.conversations, strict=True):
            found: dict[int, str] = {}
            after, more = 0, True
            while more:
                page = await store.history(conversation, reader.phone.user, after, 0, _PAGE)
                found.update({event.seq: event.message_id for event in page.events})
                after, more = page.through, page.through < page.head
            twice = [one for one, count in Counter(found.values()).items() if count > 1]
            assert not twice, f"stored twice: {twice}"
            for sent in load.history.sends:
                if sent.seq and sent.conversation == conversation:
                    assert found.get(sent.seq) == sent.message_id, f"{sent} is not stored: {len(found)} are"
