"""C1 to C6 under whatever comes: people chat while parts are killed, flushed and cut in a random order, then all is checked.

Another order: ``WHATSAPP_SEED=17 ./dev test tests/faults/test_chaos.py --all``. A failure names its seed.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.rig import Rig
from tests.faults.town import Town

pytestmark = pytest.mark.needs_system

STEPS = 8
SEEDS = [int(os.environ["WHATSAPP_SEED"])] if "WHATSAPP_SEED" in os.environ else [1, 2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_c1_to_c6_whatever_comes(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    town = Town(rig, chance)
    await town.settle()
    events = [town.gateway, town.valkey, town.flush, town.postgres, town.worker, town.both]
    await town.live_through(events, STEPS)
    assert len(town.history.sends) > 250
