"""A whole system on a Valkey Cluster: sockets, gateways and a worker, while the masters die one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.rig import Rig, meeting
from tests.support.patience import until
from tests.support.stack import System

pytestmark = [pytest.mark.needs_system, pytest.mark.slow]

PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, valkey_cluster=True) as system:
        yield Rig(system)


@pytest.mark.timeout(240, func_only=True)
async def test_c6_every_master_dies_once(rig: Rig) -> None:
    cluster = rig.system.stack.hot_cluster
    assert cluster is not None
    async with meeting(rig) as cast:
        await cast.say(3)
        for server in cluster.members[:3]:
            await asyncio.to_thread(rig.system.kill, server.name)
            await cast.say(5)
            await asyncio.to_thread(rig.system.restart, server.name)
            await until(cluster.in_step, "it follows who has taken over", PATIENCE_S)
        await cast.say(3)
        await cast.all_here(cast.phone, timeout=PATIENCE_S)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop, timeout=PATIENCE_S)
        await cast.phone.say(cast.conversation, "and back")
        await cast.all_here(*cast.devices, timeout=PATIENCE_S)
        assert not cast.ann.closes, "sockets stay"
        assert not cast.phone.closes, "sockets stay"
        assert all(sent.attempts == 1 for sent in cast.history.sends), "every send had its ✓ at once"
