"""C1 to C6 with the messages on Cassandra, whatever comes, the death of its only node, too. ``./dev faults`` runs it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.contract.people import read_all
from tests.faults.rig import Rig
from tests.faults.town import Town
from tests.support.stack import System

pytestmark = [
    pytest.mark.needs_cassandra,
    pytest.mark.long,
    pytest.mark.needs_system,
    pytest.mark.timeout(900),
]

STEPS = 10
#: A node takes half a minute to start, and then sessions find it.
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, cassandra=1) as system:
        yield Rig(system)


async def test_c1_to_c6_whatever_comes_and_the_node_dies(rig: Rig) -> None:
    chance = random.Random(int(os.environ.get("WHATSAPP_SEED", "3")))
    town = Town(rig, chance, patience_s=PATIENCE_S)
    await town.settle()
    events = [town.cassandra, town.gateway, town.valkey, town.flush, town.worker, town.both]
    await town.live_through(events, STEPS)
    readers = {conversation: user for user, some in town.conversations.items() for conversation in some}
    async with rig.system.stored() as log:
        for conversation, reader in readers.items():
            ids = [event.message_id for event in await read_all(log.store, conversation, reader)]
            confirmed = {sent.message_id for sent in town.history.sends if sent.conversation == conversation}
            assert confirmed <= set(ids), "nothing that was confirmed is lost"
            assert len(ids) == len(set(ids)), "nobody reads anything twice"
