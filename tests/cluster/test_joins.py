"""A cluster that changes while people write: a node joins and leaves for good, a dead one is replaced by an empty one.

The commands are those of the runbook in ``docs/growing.md``. Run by ``./dev faults``.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil

import pytest

from devtools.cql import CqlError
from tests.cluster.load import Load
from tests.cluster.stored import all_is_stored
from tests.cluster.test_nodes import NODES, SOME
from tests.support.patience import until
from tests.support.stack import System

pytestmark = [pytest.mark.needs_cluster, pytest.mark.timeout(3600, func_only=True)]

FOURTH = "127.0.2.4"
#: The middle of what cassandra-1 and cassandra-2 have between them.
TOKEN = -(2**63) + 2**64 // 6


def up(system: System) -> int:
    """How many nodes are up and in their normal state, as the first one sees it."""
    return len(re.findall(r"^UN ", system.stack.ring.nodes[0].nodetool("status"), re.MULTILINE))


def differs(system: System, name: str, *, apart: str = "") -> bool:
    """Whether a node's copies are not those of the others, but for those of the node ``apart``. Nothing is repaired."""
    addresses = {node.name: node.address for node in system.stack.ring.nodes}
    said = next(node for node in system.stack.ring.nodes if node.name == name).nodetool(
        "repair", "--preview", "--full", "whatsapp"
    )
    if "Previewed data was in sync" in said:
        return False
    pairs = re.findall(r"/([0-9.]+):\d+ -> /([0-9.]+):\d+: [1-9]\d* ranges", said)
    assert pairs, said
    here, other = addresses[name], addresses.get(apart)
    return any(here in pair and other not in pair for pair in pairs)


def tables(system: System, name: str) -> int:
    """How many of our tables a node knows; 0 while it lets nobody in."""
    address = next(node.address for node in system.stack.ring.nodes if node.name == name)
    try:
        with system.stack.ring.login(address) as connection:
            return len(
                connection.run("SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'whatsapp'")
            )
    except CqlError:
        return 0


async def _knows(system: System, name: str, count: int) -> bool:
    return await asyncio.to_thread(tables, system, name) == count


async def test_a_node_joins_under_load_and_an_old_one_is_killed(
    cluster: System, chance: random.Random
) -> None:
    ring = cluster.stack.ring
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        node = ring.one_more(4, FOURTH, TOKEN)
        joining = asyncio.create_task(asyncio.to_thread(cluster.stack.join_node, node))
        await load.goes_on("a fourth joins", SOME)
        await joining
        await load.goes_on("all four nodes", SOME)
        assert await asyncio.to_thread(up, cluster) == 4
        cleaning = asyncio.create_task(asyncio.to_thread(_clean_up, cluster))
        await load.goes_on("the old ones are cleaned up", 10)
        await cleaning
        dead = chance.choice(NODES)
        cluster.kill(dead)
        await load.goes_on("an old one is killed", SOME)
        await load.all_is_well()
        await all_is_stored(cluster, load, [name for name in [*NODES, node.name] if name != dead])
        load.tell("a node joins")
    await asyncio.to_thread(cluster.restart, dead)

    async def same() -> bool:
        return not await asyncio.to_thread(differs, cluster, node.name, apart=dead)

    # Nobody writes now. The dead one has what it missed by hints, but not what it coordinated itself when it died.
    await until(same, "the new one's copies are those of the others", 300)
    async with Load.on(cluster) as second:
        await second.goes_on("all four nodes", SOME)
        leaving = asyncio.create_task(asyncio.to_thread(cluster.stack.leave_node, node.name))
        await second.goes_on("the fourth leaves", SOME)
        await leaving
        await second.goes_on("all three again", SOME)
        assert await asyncio.to_thread(up, cluster) == 3
        await second.all_is_well()
        for one in (load, second):
            await all_is_stored(cluster, one, list(NODES))
        second.tell("a node leaves for good")


def _clean_up(cluster: System) -> None:
    for node in cluster.stack.ring.nodes[:3]:
        node.nodetool("cleanup", "whatsapp")


@pytest.mark.parametrize("address", ["127.0.2.3", "127.0.2.5"], ids=["its_own_address", "another_address"])
async def test_a_dead_node_is_replaced_by_an_empty_one_under_load(cluster: System, address: str) -> None:
    """Its disk is lost, or it was away for so long that others may have forgotten what was deleted meanwhile."""
    ring = cluster.stack.ring
    dead = next(node for node in ring.nodes if node.name == "cassandra-3")
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        cluster.kill(dead.name)
        await load.goes_on("one is dead for good", SOME)
        shutil.rmtree(dead.folder)
        node = ring.replacement(3, dead, address)
        replacing = asyncio.create_task(asyncio.to_thread(cluster.stack.join_node, node))
        await load.goes_on("an empty one takes its place", SOME)
        await replacing
        await load.goes_on("all three again", SOME)
        assert await asyncio.to_thread(up, cluster) == 3
        repairing = asyncio.create_task(asyncio.to_thread(node.nodetool, "repair", "--full", "whatsapp"))
        await load.goes_on("it is repaired", 10)
        await repairing
        # From here on every quorum has the new one.
        cluster.kill("cassandra-1")
        await load.goes_on("an old one is killed", SOME)
        await load.all_is_well()
        await all_is_stored(cluster, load, ["cassandra-2", "cassandra-3"])
        load.tell(
            f"a dead node is replaced ({'at its' if address == dead.address else 'at another'} address)"
        )
    await asyncio.to_thread(cluster.restart, "cassandra-1")


async def test_a_node_that_joins_without_taking_its_part_lacks_it(cluster: System) -> None:
    """The twin: bootstrap is what gives a new node its part. Without it ``nodetool repair`` must."""
    ring = cluster.stack.ring
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        await load.all_is_well()
    node = ring.one_more(4, FOURTH, TOKEN, bootstrap=False)
    await asyncio.to_thread(cluster.stack.join_node, node)
    # It answers before it was told of the tables: that, too, is what a bootstrap waits for.
    whole = await asyncio.to_thread(tables, cluster, NODES[0])
    assert whole
    await until(lambda: _knows(cluster, node.name, whole), "it knows the tables", 300)
    assert await asyncio.to_thread(differs, cluster, node.name)
    await asyncio.to_thread(node.nodetool, "repair", "--full", "whatsapp")
    assert not await asyncio.to_thread(differs, cluster, node.name)
    await asyncio.to_thread(cluster.stack.leave_node, node.name)
