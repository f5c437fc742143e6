"""What pages for staff show of a log on Cassandra: its nodes, and conversations without their contents.

Nothing here counts or walks along a cluster: each question has a bound, and a node that does not answer holds nobody up.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from acsylla import errors

from delivery.store.cassandra import events
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.rows import BUCKET, DAY_MS
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.interface import Unavailable

#: Longest wait for one node, seconds.
NODE_S: Final = 1.5
#: Nodes that are asked how they are.
MOST_NODES: Final = 24
_PARTS: Final = 16

_NOBODY = "SELECT version FROM $.conversation WHERE conversation = ?"
_LOCAL = "SELECT rpc_address, rpc_port, data_center FROM system.local"
_PEERS = "SELECT native_address, native_port, data_center FROM system.peers_v2"
_ABOUT = "SELECT release_version, gossip_generation FROM system.local"
_TABLES = "SELECT mebibytes FROM system_views.disk_usage WHERE keyspace_name = ?"
_CLIENTS = "SELECT count(*) FROM system_views.clients"
_OF_DAY = "SELECT conversation FROM $.activity WHERE day = ? AND part = ? LIMIT ?"
_ROSTER = "SELECT conversation, left_seq FROM $.roster WHERE member = ?"
_CONTENTS = """SELECT seq, content FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ? AND seq <= ?
    ORDER BY seq DESC LIMIT ?"""


class NodeState(NamedTuple):
    """``up``: it answered. ``disk``: bytes of our tables on it; None of a fact: it is not ours to see."""

    address: str
    data_center: str
    up: bool
    version: str = ""
    started_at: int = 0  # ms
    disk: int | None = None
    clients: int | None = None
    took_ms: float = 0.0


class Summary(NamedTuple):
    """A conversation without its contents. ``last_at``: of its last event, ms; 0: there is none."""

    conversation: str
    kind: str
    created_at: int
    head: int
    ordinal: int
    floor: int
    floor_ordinal: int
    members: int
    last_at: int


class Sizes(NamedTuple):
    """Of the newest events."""

    number: int
    total: int
    largest: int
    kept: int  # that have a content


async def answers(db: Cassandra, documents: Documents) -> bool:
    """True, once a majority has looked for a conversation that is not there: of other nodes each time. Raises ``Unavailable``."""
    await db.rows(_NOBODY, str(uuid.uuid4()))
    return True


async def nodes(db: Cassandra, documents: Documents) -> list[NodeState]:
    """The nodes that make the cluster up, by data centre and address. Raises ``Unavailable`` when none answers."""
    ((host, port, centre),) = await db.rows(_LOCAL)
    # Asked of the same node, which is not among its own peers.
    peers = await db.asked_of(str(host), port, _PEERS, timeout_s=NODE_S)
    known = [(str(host), port, centre), *((str(address), at, where) for address, at, where in peers)]
    return sorted(
        await gather(_state(db, *node) for node in known[:MOST_NODES]),
        key=lambda node: (node.data_center, node.address),
    )


async def _state(db: Cassandra, host: str, port: int, centre: str) -> NodeState:
    began = time.monotonic()
    try:
        ((version, generation),) = await db.asked_of(host, port, _ABOUT, timeout_s=NODE_S)
    except Unavailable:
        return NodeState(host, centre, False)
    took = (time.monotonic() - began) * 1000
    disk = await _seen(db, host, port, _TABLES, db.keyspace)
    clients = await _seen(db, host, port, _CLIENTS)
    return NodeState(
        host,
        centre,
        True,
        version,
        generation * 1000,
        None if disk is None else sum(row[0] for row in disk) << 20,
        None if clients is None else clients[0][0],
        took,
    )


async def _seen(db: Cassandra, host: str, port: int, cql: str, *params: Any) -> list[Any] | None:
    """Rows of a table that our role may not be allowed to read, or that an older node does not have."""
    try:
        return await db.asked_of(host, port, cql, *params, timeout_s=NODE_S)
    except (Unavailable, errors.CassException):
        return None


async def active(db: Cassandra, documents: Documents, at: int, limit: int) -> list[str]:
    """Conversations with an event on the day of ``at`` (ms), at most about so many, in no order."""
    each = -(-limit // _PARTS)
    found = await db.each(_OF_DAY, [(at // DAY_MS, part, each) for part in range(_PARTS)])
    return [row[0] for rows in found for row in rows]


async def of_member(db: Cassandra, documents: Documents, user: str) -> list[str]:
    """Conversations that the user is in, the latest made first: an id begins with its time."""
    rows = await db.rows(_ROSTER, user)
    return sorted({conversation for conversation, left in rows if not left}, reverse=True)


async def summaries(db: Cassandra, documents: Documents, ids: Sequence[str]) -> list[Summary]:
    """In the order of ``ids``; unknown ones are absent."""
    found = await documents.read(ids)
    there = [(conversation, found[conversation]) for conversation in ids if conversation in found]
    return await gather(_summary(db, conversation, document) for conversation, document in there)


async def _summary(db: Cassandra, conversation: str, document: Document) -> Summary:
    low = max(document.floor + 1, document.head - BUCKET)
    last = await events.downwards(db, conversation, low, document.head, 1)
    return Summary(
        conversation,
        document.kind,
        document.created_at,
        document.head,
        document.ordinal,
        document.floor,
        document.floor_ordinal,
        len(document.people) or document.members,
        last[0].at or 0 if last else 0,
    )


async def sizes(db: Cassandra, documents: Documents, conversation: str, sample: int) -> Sizes:
    """Of at most ``sample`` events of one conversation, the newest ones."""
    document = (await documents.read([conversation])).get(conversation)
    lengths: list[int | None] = []
    high = document.head if document else 0
    low = document.floor if document else 0
    while high > low and len(lengths) < sample:
        bucket = high // BUCKET
        rows = await db.rows(
            _CONTENTS, conversation, bucket, max(low, bucket * BUCKET - 1), high, sample - len(lengths)
        )
        lengths += [None if content is None else len(content) for _, content in rows]
        high = bucket * BUCKET - 1
    kept = [length for length in lengths if length]
    return Sizes(len(lengths), sum(kept), max(kept, default=0), len(kept))
