"""C1 to C6 under whatever comes: people chat while parts are killed, flushed and cut in a random order, then all is checked.

Another order: ``WHATSAPP_SEED=17 ./dev test tests/faults/test_chaos.py --all``. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.rig import Rig
from tests.faults.town import Town
from tests.gateway.peer import until

pytestmark = pytest.mark.needs_system

STEPS = 8
SEEDS = [int(os.environ["WHATSAPP_SEED"])] if "WHATSAPP_SEED" in os.environ else [1, 2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_c1_to_c6_whatever_comes(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    town = Town(rig, chance)
    await town.settle()
    chatting = [asyncio.create_task(town.chat(device)) for device in town.devices]
    events: list[Callable[[], Awaitable[None]]] = [
        town.gateway, town.valkey, town.flush, town.postgres, town.worker, town.both,
    ]  # fmt: skip
    try:
        for event in chance.choices(events, k=STEPS):
            await event()
            sends = len(town.history.sends)
            await until(lambda n=sends: len(town.history.sends) > n + 30, f"{event.__name__}: they go on", 60)
        town.stop.set()
        await asyncio.gather(*chatting)
        await town.all_here()
        assert len(town.history.sends) > 250
    finally:
        for task in chatting:
            task.cancel()
        await asyncio.gather(*chatting, return_exceptions=True)
        await asyncio.gather(*[device.leave() for device in town.devices], return_exceptions=True)
        await rig.repair()
