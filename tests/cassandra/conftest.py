"""Tests of what is Cassandra's alone; what every store promises is in ``tests/contract``.

``WHATSAPP_TEST_CASSANDRA=host:port/keyspace`` names a running node and a keyspace with the tables; otherwise the session's own
node is started.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from delivery.store.cassandra.session import Cassandra


@pytest.fixture(scope="module")
def cassandra_at(request: pytest.FixtureRequest) -> tuple[str, int, str]:
    """Host, port and keyspace."""
    where = os.environ.get("WHATSAPP_TEST_CASSANDRA")
    if not where:
        node = request.getfixturevalue("cassandra_node")
        return node.host, node.port, request.getfixturevalue("cassandra_keyspace")
    address, keyspace = where.split("/")
    host, port = address.rsplit(":", 1)
    return host, int(port), keyspace


@pytest.fixture
async def session(cassandra_at: tuple[str, int, str]) -> AsyncIterator[Cassandra]:
    host, port, keyspace = cassandra_at
    session = Cassandra([host], keyspace, port=port)
    await session.open()
    yield session
    await session.close()
