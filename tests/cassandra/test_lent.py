"""Keyspaces that tests lend to their systems, one after the other (ADR 0102)."""

from __future__ import annotations

from tests.contract.cassandra import CassandraHarness
from tests.contract.people import People
from tests.support.cassandra import Cassandra


async def test_who_is_lent_a_keyspace_finds_nobody_who_waits_to_be_told(cassandra_node: Cassandra) -> None:
    name = cassandra_node.lend()
    at = (cassandra_node.host, cassandra_node.port, name)
    async with CassandraHarness(at) as log:
        people = await People(log.store).meet()
        await people.say(b"1")
        assert await log.open_rows() == 1
    assert cassandra_node.lend() != name, "somebody has it"
    cassandra_node.take_back(name)
    assert cassandra_node.lend() == name
    async with CassandraHarness(at) as log:
        assert await log.open_rows() == 0
        assert [one.seq for one in await log.events(people.conversation)] == [1], "under ids of its own"
