"""Nodes of a cluster of three go away under load: quorum writes go on, and what was confirmed is neither lost nor doubled.

Run by ``./dev faults``, which prints how long each ✓ took before, during and after.
"""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.cluster.load import Load
from tests.support.patience import until
from tests.support.stack import System

pytestmark = [pytest.mark.needs_cluster, pytest.mark.timeout(3600, func_only=True)]

NODES = ("cassandra-1", "cassandra-2", "cassandra-3")
#: ✓ of each writer in a phase.
SOME = 25


async def test_a_node_is_killed_and_comes_back(cluster: System, chance: random.Random) -> None:
    node = chance.choice(NODES)
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        cluster.kill(node)
        await load.goes_on("one killed", SOME)
        starting = asyncio.create_task(asyncio.to_thread(cluster.restart, node))
        await load.goes_on("it starts again", SOME)
        await starting
        await load.goes_on("all three again", SOME)
        await load.all_is_well()
        load.tell("kill -9 of a node")


async def test_a_node_is_frozen_and_goes_on(cluster: System, chance: random.Random) -> None:
    node = chance.choice(NODES)
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        cluster.kill(node, signal.SIGSTOP)
        await load.goes_on("one frozen, the first messages", 2)
        await load.goes_on("one frozen", SOME)
        cluster.kill(node, signal.SIGCONT)
        await load.goes_on("all three again", SOME)
        await load.all_is_well()
        load.tell("a node is frozen")


async def test_nodes_are_restarted_in_order_one_after_the_other(cluster: System) -> None:
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        for node in NODES:
            stopping = asyncio.create_task(asyncio.to_thread(cluster.stop_part, node))
            await load.goes_on("one ends in order", 5)
            await stopping
            await load.goes_on("one is away", 10)
            starting = asyncio.create_task(asyncio.to_thread(cluster.restart, node))
            await load.goes_on("it starts again", 5)
            await starting
        await load.goes_on("all three again", SOME)
        await load.all_is_well()
        load.tell("a rolling restart")


async def test_while_the_whole_cluster_is_frozen_nothing_is_confirmed_and_sockets_stay(
    cluster: System,
) -> None:
    async with Load.on(cluster) as load:
        await load.goes_on("all three nodes", SOME)
        sockets = [device.peer for device in [*load.writers, *load.readers]]
        told = [load.unavailable(device) for device in load.writers]
        for node in NODES:
            cluster.kill(node, signal.SIGSTOP)
        load.phase = "all frozen, until they are thawed"
        for device, before in zip(load.writers, told, strict=True):
            # Twice: what was under way when they froze may have been answered yet.
            await until(
                lambda d=device, n=before: load.unavailable(d) >= n + 2, "its sender is told unavailable", 60
            )
        confirmed = load.confirmed
        more = [load.unavailable(device) for device in load.writers]
        for device, before in zip(load.writers, more, strict=True):
            await until(lambda d=device, n=before: load.unavailable(d) >= n + 3, "and told again", 60)
        assert load.confirmed == confirmed
        assert [device.peer for device in [*load.writers, *load.readers]] == sockets
        assert all(device.alive for device in [*load.writers, *load.readers])
        for node in NODES:
            cluster.kill(node, signal.SIGCONT)
        await load.goes_on("thawed", SOME)
        assert [device.peer for device in load.writers] == sockets[: len(load.writers)]
        await load.all_is_well()
        load.tell("the whole cluster is frozen")


async def test_two_of_three_are_dead_and_nothing_is_confirmed(cluster: System, chance: random.Random) -> None:
    """The twin of the first test: with the majority gone it is the quorum that keeps ✓ honest."""
    dead = chance.sample(NODES, 2)
    async with Load.on(cluster, pairs=2) as load:
        await load.goes_on("all three nodes", SOME)
        for node in dead:
            cluster.kill(node)
        load.phase = "two killed, until they are back"
        for device in load.writers:
            before = load.unavailable(device)
            await until(
                lambda d=device, n=before: load.unavailable(d) >= n + 2, "its sender is told unavailable", 60
            )
        confirmed = load.confirmed
        for device in load.writers:
            before = load.unavailable(device)
            await until(lambda d=device, n=before: load.unavailable(d) >= n + 3, "and told again", 60)
        assert load.confirmed == confirmed
        await asyncio.gather(*[asyncio.to_thread(cluster.restart, node) for node in dead])
        await load.goes_on("all three again", SOME)
        await load.all_is_well()
        load.tell("two of three are killed")
